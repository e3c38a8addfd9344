"""Timesteps and sigmas of sampling, and the one place that knows what a network predicts.

Two scalings of noisy latents are in use. Training and the network have z = a x0 + s noise with a^2 + s^2 = 1 and
a^2 = alphas_cumprod ("variance preserving", Ho et al. 2020). Samplers have x = z / a = x0 + sigma noise with
sigma = s / a ("variance exploding", Karras et al. 2022), where each of them is a few lines. Arrays are NumPy's or
Jittor's.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.diffusion.noise import SPACINGS, Array, NoiseSchedule, alphas_cumprod

if TYPE_CHECKING:
    from jittor_ipl.weights.pipeline import Scheduler

# What a scheduler_config.json may ask for and nobody's latent model needs: another value would change every picture.
_ONLY = {"clip_sample": (False, None), "thresholding": (False, None), "rescale_betas_zero_snr": (False, None),
         "use_karras_sigmas": (False, None), "use_exponential_sigmas": (False, None), "use_beta_sigmas": (False, None)}


def noise_schedule(scheduler: Scheduler) -> NoiseSchedule:
    """Return the schedule of a scheduler_config.json; UserError for a setting that is malformed or not supported."""
    others = scheduler.others
    for name, known in _ONLY.items():
        if others.get(name) not in known:
            raise UserError(f"the scheduler's {name} is {others[name]!r:.60}; only {known[0]} is supported: "
                            "change scheduler_config.json if the model can do without")
    spacing, offset, clean = (others.get(name) for name in ("timestep_spacing", "steps_offset", "set_alpha_to_one"))
    if spacing not in (None, *SPACINGS):
        raise UserError(f"the scheduler's timestep_spacing must be one of {SPACINGS}, the config says {spacing!r:.60}")
    if isinstance(offset, bool) or not isinstance(offset, (int, type(None))) or not 0 <= (offset or 0) < 100:
        raise UserError(f"the scheduler's steps_offset must be a whole number in 0..99, the config says {offset!r:.60}")
    if clean not in (None, True, False):
        raise UserError(f"the scheduler's set_alpha_to_one must be true or false, the config says {clean!r:.60}")
    alphas = alphas_cumprod(scheduler.beta_schedule, scheduler.beta_start, scheduler.beta_end,
                            scheduler.num_train_timesteps)
    return NoiseSchedule(alphas, scheduler.prediction_type, spacing, offset or 0, clean)


def timesteps(count: int, steps: int, spacing: str, offset: int = 0) -> np.ndarray:
    """Return the `steps` of `count` training timesteps that sampling visits, float64 [steps], falling.

    Table 2 of Lin et al. 2023 as diffusers reads it: "leading" multiples of count // steps plus `offset`, "trailing"
    from count - 1 on, "linspace" evenly from count - 1 to 0 (not rounded).
    """
    assert spacing in SPACINGS, spacing
    if spacing == "leading":
        return np.arange(steps, dtype=np.float64)[::-1] * (count // steps) + offset
    if spacing == "trailing":
        return np.round(count - np.arange(steps) * (count / steps)) - 1
    return np.linspace(0, count - 1, steps)[::-1]


class Denoiser:
    """What a network says of noisy latents, in the terms of the samplers: (x, sigma) -> (clean, noise).

    x = x0 + sigma noise; `clean` and `noise` are the network's guesses of x0 and of the noise, so that
    x = clean + sigma noise. Samplers call nothing else: none knows what the network predicts.

    schedule   of the model
    predict    (latents [B, C, h, w] in the training's scaling, timestep) -> the network's output [B, C, h, w]; with
               `guidance` it is asked for every latent twice in one call, [2 B, C, h, w]: first for the negative
               prompts, then for the prompts
    guidance   scale of classifier-free guidance (Ho & Salimans 2022; 1 follows the prompt alone); None without
    """

    def __init__(self, schedule: NoiseSchedule, predict: Callable[[np.ndarray, float], np.ndarray],
                 guidance: float | None = None):
        self.schedule, self.predict, self.guidance = schedule, predict, guidance

    def __call__(self, x: np.ndarray, sigma: float, level: float | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return (clean, noise), float32 like `x`; `level` is the sigma whose timestep the network is told, x's own
        when None.
        """
        a = (1 + sigma**2) ** -0.5
        s = sigma * a
        z = x * a
        output = self._guided(z, self.schedule.timestep(sigma if level is None else level))
        if self.schedule.prediction_type == "epsilon":
            return x - sigma * output, output
        if self.schedule.prediction_type == "v_prediction":
            return a * z - s * output, a * output + s * z
        assert sigma > 0, "a network that predicts the picture says nothing about the noise of a clean one"
        return output, (x - output) / sigma

    def _guided(self, z: np.ndarray, timestep: float) -> np.ndarray:
        if self.guidance is None:
            return self.predict(z, timestep)
        away, towards = np.split(self.predict(np.concatenate([z, z]), timestep), 2)
        return away + self.guidance * (towards - away)


def to_exploding(latents: Array, sigma: float) -> Array:
    """Return latents z = a x0 + s noise ("variance preserving") as x = x0 + sigma noise ("variance exploding")."""
    return latents * (1 + sigma**2) ** 0.5


def to_preserving(x: Array, sigma: float) -> Array:
    """Return x = x0 + sigma noise as z = a x0 + s noise; the inverse of `to_exploding`."""
    return x * (1 + sigma**2) ** -0.5

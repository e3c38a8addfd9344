"""The noise that a diffusion model was trained to take away, and the one place that knows what its network predicts.

Two scalings of noisy latents are in use. Training and the network have z = a x0 + s noise with a^2 + s^2 = 1 and
a^2 = alphas_cumprod ("variance preserving", Ho et al. 2020). Samplers have x = z / a = x0 + sigma noise with
sigma = s / a ("variance exploding", Karras et al. 2022), where each of them is a few lines. Arrays are NumPy's or
Jittor's.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from jittor_ipl.errors import UserError

if TYPE_CHECKING:
    from jittor_ipl.runtime.backend import jt
    from jittor_ipl.weights.pipeline import Scheduler

Array = TypeVar("Array", np.ndarray, "jt.Var")
SPACINGS = ("leading", "trailing", "linspace")
# What a scheduler_config.json may ask for and nobody's latent model needs: another value would change every picture.
_ONLY = {"clip_sample": (False, None), "thresholding": (False, None), "rescale_betas_zero_snr": (False, None),
         "use_karras_sigmas": (False, None), "use_exponential_sigmas": (False, None), "use_beta_sigmas": (False, None)}


@dataclass(frozen=True)
class NoiseSchedule:
    """How strong the noise is at each of the T timesteps of the training, and what a file says about sampling.

    alphas_cumprod    float64 [T], falling: the part of the variance that is still picture
    prediction_type   what the network predicts: "epsilon" (the noise), "v_prediction" or "sample" (the picture)
    spacing           which timesteps sampling visits, one of SPACINGS; None: what is usual for the sampler
    steps_offset      added to "leading" timesteps
    ends_clean        sampling ends without noise (`set_alpha_to_one`), or at timestep 0; None: as usual for the sampler
    """

    alphas_cumprod: np.ndarray
    prediction_type: str = "epsilon"
    spacing: str | None = None
    steps_offset: int = 0
    ends_clean: bool | None = None

    @property
    def sigmas(self) -> np.ndarray:
        """The deviation of the noise beside a picture of full strength, float64 [T], rising."""
        return np.sqrt((1 - self.alphas_cumprod) / self.alphas_cumprod)

    def sigma(self, timesteps: np.ndarray) -> np.ndarray:
        """Return the sigmas of timesteps [n], between whole ones on a line."""
        return np.interp(timesteps, np.arange(len(self.alphas_cumprod)), self.sigmas)

    def timestep(self, sigma: float) -> float:
        """Return the timestep whose noise has deviation `sigma`; the inverse of `sigma`, cut off at both ends."""
        return float(np.interp(sigma, self.sigmas, np.arange(len(self.alphas_cumprod))))

    def noised(self, latents: Array, noise: Array, timesteps: np.ndarray) -> Array:
        """Return what the network sees of clean `latents` [B, ...] with standard `noise` at whole `timesteps` [B]."""
        a, s = self._parts(timesteps, latents.ndim)
        return latents * a + noise * s

    def target(self, latents: Array, noise: Array, timesteps: np.ndarray) -> Array:
        """Return what the network should predict then, by `prediction_type` (v: Salimans & Ho 2022, appendix D)."""
        if self.prediction_type == "v_prediction":
            a, s = self._parts(timesteps, latents.ndim)
            return noise * a - latents * s
        return noise if self.prediction_type == "epsilon" else latents

    def min_snr_weights(self, timesteps: np.ndarray, gamma: float = 5.0) -> np.ndarray:
        """Return the weight of the squared error of each timestep, float32 [B] (Hang et al. 2023, equation 8).

        min(snr, gamma) for the picture itself; the same demand divided by snr for epsilon and by snr + 1 for v.
        """
        assert gamma > 0, gamma
        snr = self.sigmas[timesteps] ** -2
        divisor = {"epsilon": snr, "v_prediction": snr + 1, "sample": 1}[self.prediction_type]
        return (np.minimum(snr, gamma) / divisor).astype(np.float32)

    def _parts(self, timesteps: np.ndarray, ndim: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the factors of picture and noise at `timesteps` [B], float32 [B, 1, ...]."""
        a2 = self.alphas_cumprod[np.asarray(timesteps)].reshape(-1, *[1] * (ndim - 1))
        return np.sqrt(a2).astype(np.float32), np.sqrt(1 - a2).astype(np.float32)


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
    return NoiseSchedule(np.cumprod(1 - betas(scheduler)), scheduler.prediction_type, spacing, offset or 0, clean)


def betas(scheduler: Scheduler) -> np.ndarray:
    """Return the variance of the noise that each timestep adds, float64 [T], by the scheduler's `beta_schedule`."""
    start, end, count = scheduler.beta_start, scheduler.beta_end, scheduler.num_train_timesteps
    if scheduler.beta_schedule == "linear":                 # Ho et al. 2020
        return np.linspace(start, end, count)
    if scheduler.beta_schedule == "scaled_linear":          # Rombach et al. 2022
        return np.linspace(start**0.5, end**0.5, count) ** 2
    assert scheduler.beta_schedule == "squaredcos_cap_v2", scheduler.beta_schedule
    left = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * np.pi / 2) ** 2      # Nichol & Dhariwal 2021
    return np.minimum(1 - left[1:] / left[:-1], 0.999)


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

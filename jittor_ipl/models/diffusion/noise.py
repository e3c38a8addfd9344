"""The noise that a diffusion model was trained to take away.

Training and the network have z = a x0 + s noise with a^2 + s^2 = 1 and a^2 = alphas_cumprod ("variance preserving",
Ho et al. 2020). Arrays are NumPy's or Jittor's; no Jittor is needed here.
"""
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from jittor_ipl.runtime.backend import jt

Array = TypeVar("Array", np.ndarray, "jt.Var")
SPACINGS = ("leading", "trailing", "linspace")


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


def alphas_cumprod(schedule: str, start: float, end: float, count: int) -> np.ndarray:
    """Return the part of the variance that is still picture after each timestep, float64 [count]; see `betas`."""
    return np.cumprod(1 - betas(schedule, start, end, count))


def betas(schedule: str, start: float, end: float, count: int) -> np.ndarray:
    """Return the variance of the noise that each of `count` timesteps adds, float64 [count], from `start` to `end`.

    schedule   "linear" (Ho et al. 2020), "scaled_linear" (Rombach et al. 2022: the roots are linear) or
               "squaredcos_cap_v2" (Nichol & Dhariwal 2021, which needs neither start nor end)
    """
    if schedule == "linear":
        return np.linspace(start, end, count)
    if schedule == "scaled_linear":
        return np.linspace(start**0.5, end**0.5, count) ** 2
    assert schedule == "squaredcos_cap_v2", schedule
    left = np.cos((np.arange(count + 1) / count + 0.008) / 1.008 * np.pi / 2) ** 2
    return np.minimum(1 - left[1:] / left[:-1], 0.999)

"""Samplers as plain functions: from noise to latents, one level of noise after the other.

Each takes a denoiser ((x, sigma) -> (clean, noise), `schedule.Denoiser`), x [B, C, h, w] at the first of the falling
`sigmas`, and yields x at every following one. In this scaling, x = x0 + sigma noise, Euler's method on
dx / dsigma = noise *is* DDIM, and Euler ancestral *is* DDPM: they differ in which timesteps they visit and where they
end, which `SAMPLERS` tells. `noise(step)` gives the stochastic ones standard noise shaped like x, so that every image
can bring its own. Arrays are NumPy's or Jittor's; sigmas are Python's numbers, so that float32 stays float32.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from jittor_ipl.diffusion.schedule import NoiseSchedule, timesteps, to_exploding
from jittor_ipl.errors import UserError, nearest

Denoise = Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]]
Noise = Callable[[int], np.ndarray]
ADAMS_BASHFORTH = ((1,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def euler(denoise: Denoise, x: np.ndarray, sigmas: Sequence[float], noise: Noise | None = None) -> Iterator[np.ndarray]:
    """Euler's method (Karras et al. 2022, algorithm 1 without its second half); DDIM (Song et al. 2021, eq. 12)."""
    for sigma, lower in pairwise(sigmas):
        clean, direction = denoise(x, sigma)
        x = clean + lower * direction
        yield x


def euler_ancestral(denoise: Denoise, x: np.ndarray, sigmas: Sequence[float], noise: Noise,
                    eta: float = 1.0) -> Iterator[np.ndarray]:
    """Euler's method with fresh noise at every step; DDPM with its small variance (Ho et al. 2020, equation 7).

    `eta` is that of DDIM's equation 16: 0 adds no noise.
    """
    for step, (sigma, lower) in enumerate(pairwise(sigmas)):
        clean, direction = denoise(x, sigma)
        fresh = eta * lower * math.sqrt(1 - (lower / sigma) ** 2)
        x = clean + math.sqrt(lower**2 - fresh**2) * direction
        if fresh:
            x = x + fresh * noise(step)
        yield x


def pndm(denoise: Denoise, x: np.ndarray, sigmas: Sequence[float], noise: Noise | None = None,
         velocity: bool = False) -> Iterator[np.ndarray]:
    """Adams-Bashforth of order 4 on dx / dsigma = noise, begun by one step of Heun's (Liu et al. 2022, PLMS without
    Runge-Kutta steps). One call of the network more than there are steps.

    `velocity`: average v instead of the noise over the steps, as diffusers does where the network predicts v; it is
    less exact, because what turns v into noise changes from step to step.
    """
    def slope(x: np.ndarray, sigma: float) -> np.ndarray:
        clean, direction = denoise(x, sigma)
        return (direction - sigma * clean) * (1 + sigma**2) ** -0.5 if velocity else direction

    slopes: list[np.ndarray] = []
    for sigma, lower in pairwise(sigmas):
        slopes = [slope(x, sigma), *slopes[:3]]
        average = sum(weight * past for weight, past in zip(ADAMS_BASHFORTH[len(slopes) - 1], slopes))
        if len(slopes) == 1 and len(sigmas) > 2:
            ahead = x + (lower - sigma) * _as_noise(slopes[0], x, sigma, velocity)
            average = (slopes[0] + slope(ahead, lower)) / 2
        x = x + (lower - sigma) * _as_noise(average, x, sigma, velocity)
        yield x


def _as_noise(slope: np.ndarray, x: np.ndarray, sigma: float, velocity: bool) -> np.ndarray:
    """Return the noise that v and x at `sigma` mean; the slope itself where it is no velocity."""
    a = (1 + sigma**2) ** -0.5
    return (slope + (sigma * a) * x) * a if velocity else slope


def dpm_solver_2m(denoise: Denoise, x: np.ndarray, sigmas: Sequence[float],
                  noise: Noise | None = None) -> Iterator[np.ndarray]:
    """DPM-Solver++ of order 2, multistep (Lu et al. 2022, algorithm 2, midpoint), of order 1 at both ends."""
    before, width = None, 0.0
    for sigma, lower in pairwise(sigmas):
        clean, _ = denoise(x, sigma)
        if lower == 0:
            x = clean
        else:
            last, width = width, math.log(sigma / lower)
            ahead = clean if before is None else clean + (clean - before) * (width / (2 * last))
            x = (lower / sigma) * x - math.expm1(-width) * ahead
            before = clean
        yield x


def invert(denoise: Denoise, x: np.ndarray, sigmas: Sequence[float]) -> Iterator[np.ndarray]:
    """DDIM backwards: from x at the last of the falling `sigmas` yield x at each one before it, up to the first.

    The noise of a level is taken from the level below, as in diffusers' DDIMInverseScheduler: small steps and no
    guidance keep that small (Song et al. 2021, section 4.3). `denoise` is a `schedule.Denoiser`.
    """
    for sigma, higher in pairwise(sigmas[::-1]):
        clean, direction = denoise(x, sigma, level=higher)
        x = clean + higher * direction
        yield x


@dataclass(frozen=True)
class Sampler:
    """A sampler under the name that the command line has for it, and diffusers' habits around it.

    spacing       the timesteps it visits where the model's file does not say, one of schedule.SPACINGS
    rounded       whole timesteps only
    one_more      of steps + 1 timesteps the last is dropped
    ends_clean    it ends at sigma 0, not at timestep 0
    file_decides  about that end, where the model's file says something (`set_alpha_to_one`)
    unit_start    text-to-image starts from a variance of 1 + sigma^2 whatever the spacing
    """

    run: Callable[..., Iterator[np.ndarray]]
    spacing: str = "leading"
    rounded: bool = True
    one_more: bool = False
    ends_clean: bool = True
    file_decides: bool = False
    unit_start: bool = True


SAMPLERS = {
    "ddpm": Sampler(euler_ancestral),
    "ddim": Sampler(euler, file_decides=True),
    "pndm": Sampler(pndm, ends_clean=False, file_decides=True),
    "euler": Sampler(euler, "linspace", rounded=False, unit_start=False),
    "euler-a": Sampler(euler_ancestral, "linspace", rounded=False, unit_start=False),
    "dpm++2m": Sampler(dpm_solver_2m, "linspace", one_more=True),
}


def find_sampler(name: str) -> Sampler:
    """Return the sampler of a name in SAMPLERS; UserError for another."""
    if name not in SAMPLERS:
        raise UserError(f"no sampler {name!r:.60}{nearest(name, SAMPLERS)}; choose one of {', '.join(SAMPLERS)}")
    return SAMPLERS[name]


def sampling_sigmas(schedule: NoiseSchedule, name: str, steps: int) -> list[float]:
    """Return the `steps` + 1 falling sigmas that a sampler visits, as diffusers' scheduler of that name would.

    Raises UserError for an unknown sampler, and for more steps than the schedule can tell apart.
    """
    sampler, count = find_sampler(name), len(schedule.alphas_cumprod)
    spacing = schedule.spacing or sampler.spacing
    extra = 1 if sampler.one_more and spacing != "trailing" else 0
    if not 1 <= steps <= count - extra:
        raise UserError(f"{steps} steps: choose 1 to {count - extra}, the model was trained with {count} timesteps")
    visited = timesteps(count, steps + extra, spacing, schedule.steps_offset)[:steps]
    visited = np.round(visited) if sampler.rounded else visited
    if visited[0] > count - 1:
        raise UserError(f"{steps} steps with steps_offset {schedule.steps_offset} begin beyond the last of {count} "
                        f"timesteps: choose at most {count // 2} steps")
    said = schedule.ends_clean if sampler.file_decides else None
    clean = sampler.ends_clean if said is None else said
    return [*map(float, schedule.sigma(visited)), 0.0 if clean else float(schedule.sigmas[0])]


def start(name: str, schedule: NoiseSchedule, noise: np.ndarray, sigma: float) -> np.ndarray:
    """Return x at the first sigma of text-to-image, made of standard `noise`, as diffusers scales it.

    Euler's samplers start from sigma times the noise (unless timesteps are "leading"), all others from a variance of
    1 + sigma^2, which also counts the picture's own.
    """
    wide = SAMPLERS[name].unit_start or schedule.spacing == "leading"
    return to_exploding(noise, sigma) if wide else noise * sigma


def steps_of(strength: float, steps: int) -> int:
    """Return how many of `steps` an img2img of this strength in (0, 1] takes; UserError when that is none."""
    taken = int(steps * strength) if 0 < strength <= 1 else 0
    if taken < 1:
        raise UserError(f"strength {strength} with {steps} steps: choose a strength of at most 1 and at least "
                        f"{1 / steps:.3g}, so that one step remains")
    return taken

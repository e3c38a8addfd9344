"""The projector: the code of a picture by optimisation in W or W+ (Karras et al. 2020, appendix D; Roich et al. 2022).

The schedule is the published one: the rate falls along a cosine in the last quarter and rises over the first
twentieth, and noise on the code, which keeps it from the nearest hollow, fades over three quarters of the steps.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.inversion.matching import Matching
from jittor_ipl.inversion.noise import autocorrelation, standardised
from jittor_ipl.models.stylegan2.config import noise_sizes
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.train.optim import Adam
from jittor_ipl.train.projector import projector_rate

SPACES = ("w", "w+")
Report = Callable[[int, dict[str, float]], object]      # called with the steps done and their numbers


@dataclass(frozen=True)
class Projection:
    """How a picture is projected; the numbers are PTI's.

    space        "w" or "w+"
    noise        largest deviation of noise on the code, as a share of the spread of w
    maps         whether noise maps are fitted too (and then belong to the picture); else the generator's own are used
    """

    space: str = "w+"
    steps: int = 450
    lr: float = 0.01
    noise: float = 0.05
    maps: bool = False
    regulariser: float = 1e5    # of the noise maps
    samples: int = 600          # of z, behind mean and spread of w
    seed: int = 0

    def __post_init__(self) -> None:
        if self.space not in SPACES:
            raise UserError(f"space {self.space!r} is unknown; choose one of {', '.join(SPACES)}")


@dataclass(frozen=True)
class Projected:
    """A picture's code float32 [n_latent, style_dim], and its noise maps [1, 1, r, r] where they were fitted."""

    latent: np.ndarray
    maps: tuple[np.ndarray, ...] = ()


def strength(spread: float, noise: float, step: int, steps: int) -> float:
    """Return the deviation of the noise on the code at a step: `noise` * `spread`, fading to 0 at three quarters."""
    return spread * noise * max(0.0, 1.0 - step / steps / 0.75) ** 2


def mean_and_spread(generator: Generator, samples: int, seed: int) -> tuple[np.ndarray, float]:
    """Return the mean w [style_dim] and the root mean squared distance of w from it, over latents of `seed`."""
    z = np.random.RandomState(seed).randn(samples, generator.style_dim).astype(np.float32)
    with jt.no_grad():
        w = generator.mapping(jt.array(z)).numpy().astype(np.float64)
    centre = w.mean(0)
    return centre.astype(np.float32), float(np.sqrt(np.square(w - centre).sum() / samples))


def project(generator: Generator, matching: Matching, settings: Projection, start: np.ndarray | None = None,
            report: Report | None = None) -> Projected:
    """Return the code whose picture matches; `start` is w [style_dim] or ws [n_latent, style_dim], the mean w if None.

    The generator is not changed. With `space` "w" a `start` of several rows begins at their mean.
    """
    centre, spread = mean_and_spread(generator, settings.samples, settings.seed)
    code = _trainable(_begin(generator, centre if start is None else start, settings.space))
    maps = _maps(generator, settings)
    shape, drawn = tuple(code.shape), list(maps.values()) or "const"
    adam = Adam({"code": code, **maps}, settings.lr)
    for step in range(settings.steps):
        random = rng(settings.seed, "projection", step)
        moved = strength(spread, settings.noise, step, settings.steps) * random.standard_normal(shape)
        ws = generator.broadcast(code + jt.array(moved.astype(np.float32)))
        terms = matching.terms(generator.synthesis(ws, drawn))
        loss = matching.loss(terms)
        if maps:
            loss = loss + settings.regulariser * autocorrelation(list(maps.values()))
        adam.minimise(loss, projector_rate(settings.lr, step / settings.steps))
        for noise in maps.values():
            noise.update(jt.array(standardised(noise.numpy()))).start_grad()
        if report is not None:
            report(step + 1, {name: term.item() for name, term in terms.items()} | {"loss": loss.item()})
    ws = generator.broadcast(code).numpy()[0]
    return Projected(np.ascontiguousarray(ws, np.float32), tuple(noise.numpy() for noise in maps.values()))


def _begin(generator: Generator, start: np.ndarray, space: str) -> np.ndarray:
    """Return the code to begin with, [1, style_dim] or [1, n_latent, style_dim]; UserError for one of another shape."""
    wanted = (generator.n_latent, generator.style_dim)
    if start.shape not in (wanted, wanted[1:]):
        raise UserError(f"a start of shape {list(start.shape)}; this generator takes w [{wanted[1]}] or ws "
                        f"[{wanted[0]}, {wanted[1]}]")
    if space == "w":
        return (start if start.ndim == 1 else start.mean(0))[None].astype(np.float32)
    return np.broadcast_to(start, wanted)[None].astype(np.float32)


def _maps(generator: Generator, settings: Projection) -> dict[str, jt.Var]:
    if not settings.maps:
        return {}
    random = rng(settings.seed, "projection maps")
    drawn = [random.standard_normal((1, 1, r, r)).astype(np.float32) for r in noise_sizes(generator.size)]
    return {f"noises.noise_{i}": _trainable(noise) for i, noise in enumerate(drawn)}


def _trainable(values: np.ndarray) -> jt.Var:
    var = jt.array(values).start_grad()
    var.sync()
    return var

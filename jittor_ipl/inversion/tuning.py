"""Pivotal tuning: a generator moved a little until it draws given pictures at given codes (Roich et al. 2022)."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jittor_ipl.inversion.matching import Matching, seen
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.ops.norms import mean
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.train.optim import Adam

Report = Callable[[int, dict[str, float]], object]
PARTS = ("convolutions", "synthesis")
_SAMPLES = 600      # of z, behind the mean w of a generator that brings none


@dataclass(frozen=True)
class Tuning:
    """How a generator is tuned; the numbers are PTI's.

    pixels     weight of the mean squared difference, `perceptual` of the network's distance: for the `Matching`s
    parts      what moves: the weights of the "convolutions" alone, or all of "synthesis" but the noise maps
    stop       perceptual distance at which a picture is good enough; the tuning ends when all are
    locality   weight of staying what the generator was at codes nearby; PTI's is off, too
    distance   of those codes from the picture's, in w
    """

    steps: int = 350
    lr: float = 3e-4
    pixels: float = 1.0
    perceptual: float = 1.0
    parts: str = "convolutions"
    stop: float = 0.06
    locality: float = 0.0
    distance: float = 30.0
    seed: int = 0


def tuned_tensors(generator: Generator, parts: str) -> dict[str, jt.Var]:
    """Return name -> Var of what tuning moves, `parts` of PARTS; the mapping network and noise maps never do."""
    assert parts in PARTS, parts
    found = {name: var for name, var in generator.trainable().items() if not name.startswith(("style.", "noises."))}
    return found if parts == "synthesis" else {name: var for name, var in found.items() if name.endswith("conv.weight")}


def tune(source: Generator, latents: np.ndarray, matchings: Sequence[Matching], settings: Tuning,
         report: Report | None = None) -> Generator:
    """Return a copy of `source` that draws `matchings`' targets at latents [N, n_latent, style_dim].

    A step takes one picture, each in turn, and passes over one that is within `stop`; ends early when all are. The
    source is not changed.
    """
    twin = source.copy()
    twin.latent_avg = source.latent_avg
    moving = tuned_tensors(twin, settings.parts)
    for name, var in twin.trainable().items():
        var.requires_grad = name in moving
    adam, good = Adam(moving, settings.lr), 0
    centre = source.center(_SAMPLES, settings.seed) if settings.locality else None
    for step in range(settings.steps):
        index = step % len(latents)
        ws, matching = jt.array(latents[index:index + 1]), matchings[index]
        terms = matching.terms(twin.synthesis(ws))
        distance = terms["perceptual"].item()
        good = good + 1 if distance <= settings.stop else 0
        if report is not None:
            report(step + 1, {"perceptual": distance, "pixels": terms["pixels"].item()})
        if good >= len(latents):
            break
        if good:
            continue
        loss = matching.loss(terms)
        if settings.locality:
            loss = loss + settings.locality * locality(source, twin, latents[index], centre, matching, settings, step)
        adam.minimise(loss)
    for var in twin.trainable().values():
        var.stop_grad()
    return twin


def locality(source: Generator, twin: Generator, latent: np.ndarray, centre: jt.Var, matching: Matching,
             settings: Tuning, step: int) -> jt.Var:
    """Return how far the tuned generator's picture is from its source's at a code near `latent`, [1].

    The code lies `distance` from the picture's, towards a random one that is truncated by .5 to `centre`
    [1, style_dim]: PTI's regularisation, the mean squared difference plus the perceptual distance.
    """
    z = rng(settings.seed, "locality", step).standard_normal((1, source.style_dim)).astype(np.float32)
    with jt.no_grad():
        other = source.broadcast(source.truncate(source.mapping(jt.array(z)), 0.5, centre)).numpy()
        ws = jt.array(nearby(latent[None], other, settings.distance))
        wanted = source.synthesis(ws)
    drawn, network = twin.synthesis(ws), matching.network
    apart = drawn - wanted
    return mean(apart * apart) + mean(network.distance(network.embed(seen(drawn)), network.embed(seen(wanted))))


def nearby(latent: np.ndarray, other: np.ndarray, distance: float) -> np.ndarray:
    """Return latent + `distance` * unit(other - latent), codes [1, n_latent, style_dim], unit over all numbers."""
    away = other - latent
    return (latent + distance * away / max(float(np.linalg.norm(away)), 1e-12)).astype(np.float32)

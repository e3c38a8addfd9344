"""The ways to a dictionary: sampled faces, all renders, or derivatives. Each is a number of blocks that add up.

sampled      channels and CLIP features of random faces vary together: their covariance, a render a face
full         StyleCLIP's: two renders for every channel of every face, sharing what channels have in common
first-order  derivatives in place of renders: one backward pass for every axis of CLIP's space; renders for the channels
             that change most, for which five deviations are no small step
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from jittor_ipl.editing import responses
from jittor_ipl.editing.codes import Styles, file_positions, layers_of
from jittor_ipl.editing.dictionary import SAMPLED, measured_layers
from jittor_ipl.editing.partial import picture_from, start, steps_to
from jittor_ipl.editing.statistics import PSI, SEED, StyleStatistics, sampled_styles
from jittor_ipl.errors import UserError
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt

FULL, FIRST_ORDER = "full", "first-order"
WAYS = (SAMPLED, FULL, FIRST_ORDER)
FACES = {SAMPLED: 3000, FULL: 100, FIRST_ORDER: 100}        # StyleCLIP measures on 100
FAR = 1 / 10        # of the channels, those of the longest derivatives, which first-order renders on every face
PROBES = 32         # random axes that tell first-order the length of a response where few targets are asked for
Sums = dict[str, np.ndarray]


@dataclass(frozen=True)
class Way:
    """How a dictionary is made.

    name      one of WAYS
    blocks    how many blocks add up
    layers    names of the style layers that its rows run through, in the order of files
    measure   block number -> arrays, to be summed over the blocks
    finish    the sums -> directions float32 [rows, d]
    sample    does a known part of one block, for the estimate, and returns that part
    renders   of all blocks, for people
    facts     what the dictionary depends on besides, for its file: faces, their truncation, the strength
    """

    name: str
    blocks: int
    layers: list[str]
    measure: Callable[[int], Sums]
    finish: Callable[[Mapping[str, np.ndarray]], np.ndarray]
    sample: Callable[[], float]
    renders: int
    facts: dict = field(default_factory=dict)


def make_way(name: str, generator: Generator, clips: Sequence[Clip], statistics: StyleStatistics, faces: int,
             alpha: float = responses.ALPHA, texts: np.ndarray | None = None) -> Way:
    """Return the way `name` over so many faces; UserError for an unknown one.

    texts: unit directions [K, d] of the only targets that first-order is to answer for; all of CLIP's space when None.
    """
    if name not in WAYS:
        raise UserError(f"no way {name!r} to a dictionary; choose from {', '.join(WAYS)}")
    side = max(clip.settings.image_resolution for clip in clips)
    if name == SAMPLED:
        return _sampled(generator, clips, faces, side)
    steps = steps_to(generator, side)
    codes = next(sampled_styles(generator, faces, PSI)) if faces <= 2000 else None
    if codes is None:
        raise UserError(f"{faces} faces of the way {name}: 1 to 2000 are measured")
    layers = measured_layers(generator, side)
    if name == FULL:
        return _full(generator, clips, statistics, codes, steps, layers, alpha)
    return _first_order(generator, clips, statistics, codes, steps, layers, alpha, texts)


# ---- sampled -----------------------------------------------------------------------------------------------------

def _sampled(generator: Generator, clips: Sequence[Clip], faces: int, side: int) -> Way:
    steps, block = steps_to(generator, side), 2 * responses.at_once(side)
    positions = _shown(generator, steps)
    parts = list(sampled_styles(generator, faces, psi=1))
    codes = [np.concatenate(layer) for layer in zip(*parts)]

    def measure(index: int) -> Sums:
        taken = [code[index * block:(index + 1) * block] for code in codes]
        with jt.no_grad():
            images = picture_from(generator, 0, start(generator), [jt.array(c) for c in taken],
                                  generator.noises.as_list(), steps)
            seen = responses.features(clips, images).numpy().astype(np.float64)
        styles = np.concatenate([taken[position] for position in positions], axis=1).astype(np.float64)
        return {"count": np.array([len(seen)], np.float64), "styles": styles.sum(0), "squares": (styles**2).sum(0),
                "seen": seen.sum(0), "products": styles.T @ seen}

    blocks = -(-faces // block)
    return Way(SAMPLED, blocks, [_name(generator, position) for position in positions], measure, covariance,
               lambda: (measure(0), 1.0)[1], faces, {"faces": faces, "psi": 1.0})


def _shown(generator: Generator, steps: int) -> list[int]:
    """Return the positions in `Generator.styles` of all layers that draw the picture of so many steps, coarse first."""
    level = 4 << (steps // 2)
    return [position for layer, position in zip(layers_of(generator), file_positions(generator))
            if layer.resolution <= level]


def _name(generator: Generator, position: int) -> str:
    return layers_of(generator)[file_positions(generator).index(position)].name


def covariance(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the covariance [rows, d] of CLIP's features with channels in deviations, the longest row of length 1.

    It is E[(s - mean) (f . t)] for every text direction t at once: how far the codes of faces lean that CLIP finds to
    say more of t. Channels that vary together move together, so that a step stays among the codes of faces.
    """
    count = sums["count"][0]
    mean, seen = sums["styles"] / count, sums["seen"] / count
    std = np.sqrt(np.maximum(sums["squares"] / count - mean**2, 0))
    found = (sums["products"] / count - np.outer(mean, seen)) / np.maximum(std, 1e-12)[:, None]
    found[std < 1e-9] = 0
    return (found / max(np.linalg.norm(found, axis=1).max(), 1e-30)).astype(np.float32)


# ---- full and first-order ----------------------------------------------------------------------------------------

def _full(generator: Generator, clips: Sequence[Clip], statistics: StyleStatistics, codes: Styles, steps: int,
          layers: list[str], alpha: float) -> Way:
    faces = len(codes[0])
    channels = sum(layer.channels for layer in layers_of(generator) if layer.name in layers)
    few = np.concatenate([np.arange(count) < 2 * responses.at_once(4 << (steps // 2))
                          for count in responses.channels_of(statistics, steps)])

    def face(index: int) -> Styles:
        return tuple(code[index:index + 1] for code in codes)

    def measure(index: int) -> Sums:
        return {"unit": responses.unit_rows(responses.shared_responses(
            generator, clips, face(index), statistics, steps, alpha).astype(np.float64))}

    def sample() -> float:
        return len(responses.shared_responses(generator, clips, face(0), statistics, steps, alpha, few)) / channels
    return Way(FULL, faces, layers, measure, _mean_direction, sample, 2 * channels * faces,
               {"faces": faces, "psi": PSI, "alpha": alpha})


def _first_order(generator: Generator, clips: Sequence[Clip], statistics: StyleStatistics, codes: Styles, steps: int,
                 layers: list[str], alpha: float, texts: np.ndarray | None) -> Way:
    faces, block = len(codes[0]), max(1, responses.at_once(4 << (steps // 2)) // 4)
    asked, axes = axes_for(sum(clip.settings.embed_dim for clip in clips), texts)
    channels = sum(responses.channels_of(statistics, steps))
    most = max(1, round(FAR * channels))
    responses.frozen(generator, *clips)

    def unit(rows: np.ndarray) -> np.ndarray:
        return responses.unit_rows(rows, np.linalg.norm(rows[..., asked:], axis=-1))

    def derived(index: int, along: np.ndarray) -> np.ndarray:
        taken = tuple(code[index * block:(index + 1) * block] for code in codes)
        return responses.derived_responses(generator, clips, taken, statistics, steps, along).astype(np.float64)

    def rendered(index: int, chosen: np.ndarray) -> np.ndarray:
        face = tuple(code[index:index + 1] for code in codes)
        return responses.shared_responses(generator, clips, face, statistics, steps, alpha, chosen) @ axes.T

    def measure(index: int) -> Sums:
        found = derived(index, axes)
        for i, rows in enumerate(found, index * block):
            lengths = np.linalg.norm(rows[:, asked:], axis=1)
            far = np.isin(np.arange(channels), np.argsort(-lengths, kind="stable")[:most])
            rows[far] = rendered(i, far)
        return {"unit": unit(found).sum(0)}

    def sample() -> float:
        share, together = min(1, 8 / len(axes)), min(block, faces)
        derived(0, axes[:8])
        count = min(channels, max(1, round(share * together * most)))
        rendered(0, np.isin(np.arange(channels), np.linspace(0, channels - 1, count).astype(int)))
        return share

    def finish(sums: Mapping[str, np.ndarray]) -> np.ndarray:
        mean = unit(sums["unit"])
        return mean.astype(np.float32) if texts is None else _along(mean[:, :asked], axes[:asked])
    return Way(FIRST_ORDER, -(-faces // block), layers, measure, finish, sample, faces * (1 + 2 * most),
               {"faces": faces, "psi": PSI, "alpha": alpha})


def axes_for(width: int, texts: np.ndarray | None) -> tuple[int, np.ndarray]:
    """Return how many axes are of `texts` [K, width], and these with those that tell the length of a response.

    All of a space tell it exactly. Where a few texts are asked for it is the length along random orthogonal axes,
    enlarged by the share of the space that they span: the published rows are unit vectors, whatever is asked of them.
    """
    if texts is None:
        return 0, np.eye(width)
    count = min(PROBES, width)
    probes, _ = np.linalg.qr(np.random.RandomState(SEED).randn(width, count))
    return len(texts), np.concatenate([texts.astype(np.float64), probes.T * (width / count)**.5])


def _along(sums: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Return directions [rows, d] in the space of `texts` [K, d] whose products with these are `sums` [rows, K]."""
    found = sums @ np.linalg.pinv(texts).T
    return (found / max(np.linalg.norm(found, axis=1).max(), 1e-30)).astype(np.float32)


def _mean_direction(sums: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the unit mean [rows, d] of unit responses (StyleCLIP's fs3)."""
    return responses.unit_rows(sums["unit"]).astype(np.float32)

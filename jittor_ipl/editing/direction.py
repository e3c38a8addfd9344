"""From a text direction to a step in the style space, from faces to edited faces (Patashnik et al. 2021, section 6).

relevance = dictionary @ text direction; what is below beta becomes 0; the largest becomes 1; the step is that times
the deviation of each channel; s' = s + alpha * step.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jittor_ipl.editing.codes import Styles
from jittor_ipl.editing.dictionary import Dictionary
from jittor_ipl.editing.statistics import StyleStatistics
from jittor_ipl.errors import UserError

# StyleCLIP's search for beta: the largest of .1, .11, ..., .3 that leaves more than so many channels.
_BETAS, _FACES, _OTHERS = np.arange(.3, .095, -.01), 20, 100
RELATIVE_BETA = .3          # where relevances are told in parts of the largest one


@dataclass(frozen=True)
class Step:
    """What alpha 1 adds to S codes.

    deltas      float32 [C] a style layer in the order of `Generator.styles`, zeros where nothing changes
    channels    how many channels move
    beta        the threshold behind it
    """

    deltas: Styles
    channels: int
    beta: float


def relevances(dictionary: Dictionary, text: np.ndarray) -> np.ndarray:
    """Return how much every channel moves along `text` [d], float64 [rows]; in parts of the largest when `relative`.

    UserError where no channel moves along it at all, or the dictionary was measured for other targets.
    """
    if dictionary.targets and not _answers(dictionary, text):
        raise UserError(f"{dictionary.label} was measured for {', '.join(map(repr, dictionary.targets))} alone, from "
                        f"{dictionary.facts.get('neutral', '')!r}: ask for one of them, or prepare another dictionary")
    found = dictionary.directions.astype(np.float64) @ text.astype(np.float64)
    largest = np.abs(found).max(initial=0)
    if not largest > 1e-8:
        raise UserError(f"no channel of {dictionary.label} moves along these words: the direction is zero; use others")
    return found / largest if dictionary.relative else found


def _answers(dictionary: Dictionary, text: np.ndarray, tolerance: float = .02) -> bool:
    """Tell whether a unit `text` [d] lies in the space that the rows of a dictionary of few targets span."""
    _, _, axes = np.linalg.svd(dictionary.directions.astype(np.float64), full_matrices=False)
    axes = axes[:len(dictionary.targets)]
    return bool(np.linalg.norm(text - axes.T @ (axes @ text)) < tolerance)


def automatic_beta(dictionary: Dictionary, found: np.ndarray, size: int) -> float:
    """Return the threshold for relevances `found` [rows] of a `size` px generator.

    StyleCLIP's rule: more than 20 channels of a 1024 px generator, 100 of another, or an eighth of those that there
    are; a fixed part where relevances are relative.
    """
    if dictionary.relative:
        return RELATIVE_BETA
    wanted = min(_FACES if size == 1024 else _OTHERS, len(found) // 8)
    return next((round(float(beta), 2) for beta in _BETAS if (np.abs(found) >= beta).sum() > wanted),
                float(np.round(_BETAS[-1], 2)))


def step_of(dictionary: Dictionary, statistics: StyleStatistics, found: np.ndarray, beta: float) -> Step:
    """Return the step of relevances `found` [rows] above `beta`; UserError when none is.

    Any alpha may be multiplied: alpha and -alpha are each other's inverse, 0 changes nothing.
    """
    kept = np.where(np.abs(found) < beta, 0, found)
    largest = np.abs(kept).max(initial=0)
    if not largest > 0:
        raise UserError(f"--beta-threshold {beta:g} leaves no channel: the largest relevance for these words is "
                        f"{np.abs(found).max(initial=0):.3f}; choose less, or auto")
    deltas, at = [np.zeros_like(std) for std in statistics.std], 0
    for position in dictionary.layers:
        std = statistics.std[position]
        deltas[position] = (kept[at:at + len(std)] / largest * std).astype(np.float32)
        at += len(std)
    return Step(tuple(deltas), int((kept != 0).sum()), beta)


def without(dictionary: Dictionary, found: np.ndarray, texts: Sequence[np.ndarray], ridge: float = .01) -> np.ndarray:
    """Return relevances [rows] less what they share with those of other `texts` [d] each, which are to stay.

    The least change of every channel such that CLIP sees nothing along the other texts, damped: shares far below the
    strongest, `ridge` of its square, are left alone.
    """
    if not texts:
        return found
    others = dictionary.directions.astype(np.float64) @ np.stack(texts).T.astype(np.float64)      # [rows, texts]
    axes, lengths, _ = np.linalg.svd(others, full_matrices=False)
    share = lengths**2 / (lengths**2 + ridge * max(lengths[0]**2, 1e-30))
    left = found - axes @ (share * (axes.T @ found))
    return left / np.abs(left).max() if dictionary.relative and np.abs(left).max() > 0 else left


def moved(styles: Styles, step: Step, alpha: float | np.ndarray) -> Styles:
    """Return S codes [N, C] a layer moved by `alpha` times a step; alpha is one number or one a face [N]."""
    alphas = np.broadcast_to(np.asarray(alpha, np.float32), (len(styles[0]),))[:, None]
    return tuple(code if not delta.any() else code + alphas * delta for code, delta in zip(styles, step.deltas))

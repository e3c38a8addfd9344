"""How far to go: the least strength with which CLIP finds a face to be as much of the target as faces that are one."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jittor_ipl.editing.codes import Styles
from jittor_ipl.editing.direction import Step, moved
from jittor_ipl.editing.partial import picture_from, start, steps_to
from jittor_ipl.editing.responses import at_once, features
from jittor_ipl.editing.statistics import sampled_styles
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt

ALPHAS = np.arange(0, 8.25, .5)     # what is tried, from the least on
_FACES = 256                        # whose scores tell what a face of the target says
_ROUNDS = 20


def scores(generator: Generator, clips: Sequence[Clip], styles: Styles, text: np.ndarray) -> np.ndarray:
    """Return how much CLIP finds of `text` [d] in the pictures of S codes [N, C] a layer: cosines [N]."""
    steps = steps_to(generator, max(clip.settings.image_resolution for clip in clips))
    noise, found = generator.noises.as_list(), []
    batch = at_once(4 << (steps // 2))
    for i in range(0, len(styles[0]), batch):
        with jt.no_grad():
            codes = [jt.array(code[i:i + batch]) for code in styles]
            found.append(features(clips, picture_from(generator, 0, start(generator), codes, noise, steps)).numpy())
    return np.concatenate(found) @ text


def score_of_target(generator: Generator, clips: Sequence[Clip], text: np.ndarray) -> float:
    """Return the score that a face of the target has: the mean of the upper part of 256 random faces' scores.

    The parts are those of two means (k-means in one dimension), so that a rare target asks for more than a common one.
    """
    codes = next(sampled_styles(generator, _FACES, psi=1))
    return upper_mean(scores(generator, clips, codes, text))


def upper_mean(values: np.ndarray) -> float:
    """Return the larger of the two means of values [N] that k-means finds in one dimension."""
    low, high = float(values.min()), float(values.max())
    for _ in range(_ROUNDS):
        upper = values >= (low + high) / 2
        if upper.all() or not upper.any():
            break
        low, high = float(values[~upper].mean()), float(values[upper].mean())
    return high


def automatic_alphas(generator: Generator, clips: Sequence[Clip], styles: Styles, step: Step, text: np.ndarray,
                     wanted: float) -> np.ndarray:
    """Return the least of ALPHAS for each face [N] whose edit reaches the score `wanted`; 0 for a face that has it.

    Where none does, the one with the highest score. A negative direction has its own words: alphas are not negative.
    """
    reached = np.stack([scores(generator, clips, moved(styles, step, float(alpha)), text) for alpha in ALPHAS])
    enough = reached >= wanted
    return ALPHAS[np.where(enough.any(0), enough.argmax(0), reached.argmax(0))].astype(np.float32)

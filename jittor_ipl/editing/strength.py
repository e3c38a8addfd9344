"""How far to go: the strength with which CLIP finds most faces to be as much of the target as faces that are one."""
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

ALPHAS = np.arange(.5, 7.25, .5)    # what is tried, from the least on
_FACES, _TRIED = 256, 40            # whose scores tell what a face of the target has; that lack it and are tried
_SHARE, _MORE = .6, .5              # of these that must reach it; what is added: CLIP is content before a person is
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


def upper_mean(values: np.ndarray) -> float:
    """Return the larger of the two means of values [N] that k-means finds in one dimension.

    Of faces' scores it is that of a face of the target: a rare target asks for more than a common one.
    """
    low, high = float(values.min()), float(values.max())
    for _ in range(_ROUNDS):
        upper = values >= (low + high) / 2
        if upper.all() or not upper.any():
            break
        low, high = float(values[~upper].mean()), float(values[upper].mean())
    return high


def automatic_alpha(generator: Generator, clips: Sequence[Clip], step: Step, text: np.ndarray) -> float:
    """Return the strength of an edit: with it three of five faces that lack the target reach a target face's score,
    and half a deviation more, as people ask for more than CLIP.

    One strength for all faces: alone, a face may be found enough by CLIP, which an edit can deceive, before a person
    finds it so. Measured on random faces; one of `ALPHAS`, or between two of them.
    """
    codes = next(sampled_styles(generator, _FACES, psi=1))
    found = scores(generator, clips, codes, text)
    wanted = upper_mean(found)
    lacking = np.flatnonzero(found < wanted)[:_TRIED]
    some = tuple(code[lacking] for code in codes)
    reached = np.stack([scores(generator, clips, moved(some, step, float(alpha)), text) for alpha in ALPHAS])
    enough = reached >= wanted
    least = ALPHAS[np.where(enough.any(0), enough.argmax(0), reached.argmax(0))]
    return round(float(np.quantile(least, _SHARE)) + _MORE, 2)

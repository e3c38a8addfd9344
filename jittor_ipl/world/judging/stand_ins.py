"""The demo judge and a demo CLIP in place of the networks of the competition's score, for where those cannot be had.

DINO's class token is the colour judge's penultimate features, LPIPS its intermediate maps, Inception's 64 features the
mean of its first convolution, CLIP-R's network a demo CLIP. CLIP-IQA has no stand-in. Figures compare with each other.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from jittor_ipl.images.pixels import from_uint8
from jittor_ipl.metrics.networks import ClipFeatures
from jittor_ipl.world.judging.features import CLIP, JudgeFeatures


def demo_scorers(words: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """Return what the parts of `metrics.competition` take besides the styles; CLIP-R chooses among `words`."""
    judge, clip = JudgeFeatures(), ClipFeatures(CLIP)

    def of_judge(name: str):
        return lambda image: judge.features(from_uint8(image[None]), [name])[name][0]

    def of_clip(image: np.ndarray) -> np.ndarray:
        return clip.features(from_uint8(image[None]), ["clip"])["clip"][0]
    return {"dino": (of_judge("pooled"),), "hist": (), "lpips": (of_judge("embedding"),),
            "fid": (of_judge("patch-mean"),), "clip_r": (words, of_clip, clip.text)}

"""Cosines of features: identity (ArcFace), CLIP score (Hessel et al. 2021), CLIP direction (Gal et al. 2022)."""
from __future__ import annotations

import numpy as np


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the cosine [n] of each row of `a` [n, d] with that of `b` [n, d] or [1, d]; 0 where a row is zero."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    length = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    return (a * b).sum(-1) / np.where(length > 0, length, 1.0)


def clip_score(images: np.ndarray, text: np.ndarray) -> float:
    """Return 100 x the mean cosine of image features [n, d] with a text's [d], at least 0 (as torchmetrics does)."""
    return float(max(100 * cosines(images, text[None]).mean(), 0.0))


def clip_directions(before: np.ndarray, after: np.ndarray, source_text: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Return the cosine [n] of a picture's change in CLIP space with the text's change; 0 for an unchanged picture.

    before, after: features [n, d] of unit length; source_text, text: [d] of unit length.
    """
    return cosines(after - before, (text - source_text)[None])

"""The mean of a style's pictures, an img2img start that hands over its colours and its light."""
from __future__ import annotations

import numpy as np


def mean_image(pictures: np.ndarray) -> np.ndarray:
    """Return the mean picture, float32 [1, 3, H, W], of a style's pictures [N, 3, H, W] in [-1, 1].

    Entrants of the Jittor challenge start from it with a strength of 0.8 to 0.9: little but its low frequencies
    outlives that much noise, and these are what histograms of colours see.
    """
    assert pictures.ndim == 4 and len(pictures), pictures.shape
    return pictures.astype(np.float64).mean(axis=0, keepdims=True).astype(np.float32)

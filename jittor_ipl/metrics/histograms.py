"""The colour histograms of the Jittor competition's checker, bin for bin, with OpenCV's arithmetic in NumPy.

Two habits of the checker are part of its numbers. It multiplies 8-bit bins in 8 bits, so that of its 16 x 16 x 16 bins
only green and red count: blue is shifted out. Hues above 255 degrees wrap around to 0, so that violet counts as red.
"""
from __future__ import annotations

from collections.abc import Iterable

import numpy as np

RGB_BINS, HSV_BINS = 16**3, 72
_SHIFT = 12                                                        # OpenCV's fixed point
_HUES = np.array([20, 40, 75, 155, 190, 270, 295, 315])          # upper ends, degrees; what is above is the first again
_LEVELS = np.array([51, 178])                                      # upper ends of low and middle saturation and value


def _table(scale: float) -> np.ndarray:
    return np.concatenate([[0], np.rint((scale * (1 << _SHIFT)) / np.arange(1.0, 256))]).astype(np.int64)


_BY_VALUE, _BY_CHROMA = _table(255.0), _table(30.0)                # 180 half degrees over six sectors


def hsv(image: np.ndarray) -> np.ndarray:
    """Return hue in half degrees 0..179, saturation, value 0..255 of a uint8 picture [H, W, 3], as OpenCV's BGR2HSV."""
    red, green, blue = (image[..., channel].astype(np.int64) for channel in range(3))
    value = image.max(axis=-1).astype(np.int64)
    chroma = value - image.min(axis=-1)
    half = 1 << (_SHIFT - 1)
    saturation = (chroma * _BY_VALUE[value] + half) >> _SHIFT
    others = np.where(value == green, blue - red + 2 * chroma, red - green + 4 * chroma)
    sector = np.where(value == red, green - blue, others)
    hue = (sector * _BY_CHROMA[chroma] + half) >> _SHIFT
    return np.stack([hue + 180 * (hue < 0), saturation, value], axis=-1).astype(np.uint8)


def rgb_histogram(image: np.ndarray) -> np.ndarray:
    """Return the float32 counts [4096] of a uint8 RGB picture [H, W, 3]; only the first 256 can be full (see above)."""
    bins = image // 16
    blue, green, red = bins[..., 2], bins[..., 1], bins[..., 0]
    index = blue * np.uint8(16) * np.uint8(16) + green * np.uint8(16) + red
    return np.bincount(index.reshape(-1), minlength=RGB_BINS).astype(np.float32)


def hsv_histogram(image: np.ndarray) -> np.ndarray:
    """Return the float32 counts [72] of a uint8 RGB picture [H, W, 3]: 8 hues x 3 saturations x 3 values.

    The range of the checker's histogram ends below 71, so that the last bin stays empty.
    """
    half_degrees, saturation, value = np.moveaxis(hsv(image), -1, 0)
    degrees = half_degrees * np.uint8(2)                           # wraps at 256
    hue = np.searchsorted(_HUES, degrees, side="left") % len(_HUES)
    saturation, value = (np.searchsorted(_LEVELS, part, side="left") for part in (saturation, value))
    index = 9 * hue + 3 * saturation + value
    counts = np.bincount(index.reshape(-1), minlength=HSV_BINS).astype(np.float32)
    counts[HSV_BINS - 1] = 0
    return counts


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation of two histograms, -1..1, as OpenCV's HISTCMP_CORREL; 1 where one of them is flat."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    common = (a * b).sum() - a.sum() * b.sum() / a.size
    spread = ((a * a).sum() - a.sum()**2 / a.size) * ((b * b).sum() - b.sum()**2 / b.size)
    return float(common / np.sqrt(spread)) if abs(spread) > np.finfo(np.float64).eps else 1.0


def histogram_score(images: Iterable[np.ndarray], references: Iterable[np.ndarray]) -> float:
    """Return a style's score: correlation with the references' mean histogram, mean of pictures, of RGB and HSV."""
    images, references = list(images), list(references)
    scores = []
    for histogram in (rgb_histogram, hsv_histogram):
        total = np.sum([histogram(image) for image in references], axis=0, dtype=np.float32)
        mean = total / np.float32(len(references))
        scores.append(np.mean([correlation(mean, histogram(image)) for image in images]))
    return float(np.mean(scores))

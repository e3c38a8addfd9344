"""FFHQ's alignment written once more from its formulas, independent of the product: the reference of its tests.

As in ffhq-dataset, pSp, e4e and ReStyle: landmarks as integers, a crop, reflected borders, a bilinear quadrilateral.
"""
from __future__ import annotations

import numpy as np
from PIL import Image


def square(points: np.ndarray) -> np.ndarray:
    """Return the corners of the square for 68 landmarks."""
    eye0, eye1 = points[36:42].mean(axis=0), points[42:48].mean(axis=0)
    eye, mouth = (eye0 + eye1) * 0.5, (points[48] + points[54]) * 0.5
    between, down = eye1 - eye0, mouth - eye
    right = between + np.array([down[1], -down[0]])
    right = right / np.sqrt((right**2).sum())
    right = right * max(2.0 * np.sqrt((between**2).sum()), 1.8 * np.sqrt((down**2).sum()))
    below = np.array([-right[1], right[0]])
    middle = eye + 0.1 * down
    return np.array([middle - right - below, middle - right + below, middle + right + below, middle + right - below])


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return float32 [H, W, 3] after SciPy's Gaussian filter; without SciPy, by a matrix an axis in float64."""
    try:
        from scipy.ndimage import gaussian_filter
    except ImportError:
        return np.einsum("hi,wj,ijc->hwc", *(matrix(n, sigma) for n in image.shape[:2]), image,
                         optimize=True).astype(np.float32)
    return gaussian_filter(image, [sigma, sigma, 0])


def matrix(n: int, sigma: float) -> np.ndarray:
    """Return the Gaussian of `n` pixels mirrored at both ends, the last pixel counted again."""
    radius = int(4 * sigma + 0.5)
    taps = np.exp(-0.5 * np.arange(-radius, radius + 1)**2 / sigma**2)
    found = np.zeros((n, n))
    for row in range(n):
        at = np.abs(np.arange(row - radius, row + radius + 1) + 0.5) % (2 * n)
        np.add.at(found[row], np.minimum(at, 2 * n - at).astype(int), taps / taps.sum())
    return found


def align(pixels: np.ndarray, points: np.ndarray, size: int = 256, transform: int = 256,
          enable_padding: bool = True) -> np.ndarray:
    """Return the aligned face uint8 [size, size, 3]."""
    quad, image = square(points.astype(float)), Image.fromarray(pixels)
    side = 2 * np.sqrt(((quad[2] - quad[1])**2).sum() / 4)
    factor = int(np.floor(0.5 * side / size))
    if factor > 1:
        image = image.resize([int(np.rint(n / factor)) for n in image.size], Image.LANCZOS)
        quad, side = quad / factor, side / factor
    border = max(3, int(np.rint(0.1 * side)))
    low, high = np.floor(quad.min(0)).astype(int), np.ceil(quad.max(0)).astype(int)
    low, high = np.maximum(low - border, 0), np.minimum(high + border, image.size)
    if ((high - low) < image.size).any():
        image, quad = image.crop((*low, *high)), quad - low
    low, high = np.floor(quad.min(0)).astype(int), np.ceil(quad.max(0)).astype(int)
    before, after = np.maximum(border - low, 0), np.maximum(high - image.size + border, 0)
    if enable_padding and max(*before, *after) > border - 4:
        least = int(np.rint(0.3 * side))
        before, after = np.maximum(before, least), np.maximum(after, least)
        grown = np.pad(np.asarray(image, np.float32), ((before[1], after[1]), (before[0], after[0]), (0, 0)), "reflect")
        rows, columns = np.arange(grown.shape[0])[:, None, None], np.arange(grown.shape[1])[None, :, None]
        far = [1 - np.minimum(np.float32(at) / a, np.float32(n - 1 - at) / b)
               for at, a, b, n in ((columns, before[0], after[0], grown.shape[1]),
                                   (rows, before[1], after[1], grown.shape[0]))]
        mask = np.maximum(*far)
        grown += (blurred(grown, 0.02 * side) - grown) * np.clip(3 * mask + 1, 0, 1)
        grown += (np.median(grown, axis=(0, 1)) - grown) * np.clip(mask, 0, 1)
        image, quad = Image.fromarray(np.clip(np.rint(grown), 0, 255).astype(np.uint8)), quad + before
    data = [float(value) for corner in quad for value in corner + 0.5]
    image = image.transform((transform, transform), Image.QUAD, data, Image.BILINEAR)
    return np.asarray(image.resize((size, size), Image.LANCZOS) if size < transform else image)

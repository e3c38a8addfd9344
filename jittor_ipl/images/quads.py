"""Pictures cut out along an oriented square, as FFHQ's faces are (Karras et al. 2019, appendix C): NumPy and Pillow."""
from __future__ import annotations

import math

import numpy as np
from PIL import Image

_BORDER, _MARGIN, _SHARE = 3, 4, 0.1    # of the crop around the square: pixels at least, its fade, a share of the side
_PAD, _BLUR = 0.3, 0.02                 # shares of the square's side
_TRUNCATE = 4.0                         # deviations after which the Gaussian ends
_BLOCK = 1 << 16                        # numbers summed at once, which stay in the processor's cache


def cut_square(pixels: np.ndarray, quad: np.ndarray, size: int, transform_size: int | None = None,
               padding: bool = True) -> tuple[np.ndarray, float]:
    """Return the square `quad` of a picture as uint8 [size, size, 3], and how much of it lay outside, 0..1.

    pixels           uint8 [H, W, 3]
    quad             float [4, 2], x and y of its corners: upper left, lower left, lower right, upper right
    transform_size   side of the sampled square, then reduced to `size` by Lanczos' filter; `size` when None. FFHQ has
                     4096 for 1024 px, pSp, e4e and ReStyle 256 for 256 px
    padding          where the square leaves the picture, mirror it, blurred and faded to its median; black without

    In the order and the arithmetic of the published procedure: reduce a large square by a whole number, cut around it,
    pad, sample bilinearly. The same bytes with the same Pillow.
    """
    transform_size = transform_size or size
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3, (pixels.dtype, pixels.shape)
    quad, image = np.array(quad, np.float64), Image.fromarray(pixels)
    outside = _outside(quad, *image.size)
    side = float(np.hypot(*(quad[3] - quad[0])))
    shrink = int(math.floor(side / size * 0.5))
    if shrink > 1:
        reduced = tuple(max(int(np.rint(n / shrink)), 1) for n in image.size)
        image = image.resize(reduced, Image.Resampling.LANCZOS)
        quad, side = quad / shrink, side / shrink
    border = max(int(np.rint(side * _SHARE)), _BORDER)
    image, quad = _cropped(image, quad, border)
    pad = _missing(image, quad, border)
    if padding and max(pad) > border - _MARGIN:
        pad = [max(n, int(np.rint(side * _PAD))) for n in pad]
        image, quad = Image.fromarray(_padded(np.asarray(image), pad, side * _BLUR)), quad + pad[:2]
    image = image.transform((transform_size, transform_size), Image.Transform.QUAD, tuple((quad + 0.5).ravel()),
                            Image.Resampling.BILINEAR)
    if size < transform_size:
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return np.array(image), outside


def _outside(quad: np.ndarray, width: int, height: int, steps: int = 64) -> float:
    """Return the share of a grid of points in the square that is not in the picture."""
    at = (np.arange(steps) + 0.5) / steps
    points = quad[0] + at[:, None, None] * (quad[3] - quad[0]) + at[None, :, None] * (quad[1] - quad[0])
    inside = ((points >= -0.5) & (points <= np.array([width, height]) - 0.5)).all(-1)
    return 1 - float(inside.mean())


def _box(quad: np.ndarray) -> list[int]:
    """Return the whole pixels around the square: left, top, right, bottom."""
    return [*np.floor(quad.min(0)).astype(int).tolist(), *np.ceil(quad.max(0)).astype(int).tolist()]


def _cropped(image: Image.Image, quad: np.ndarray, border: int) -> tuple[Image.Image, np.ndarray]:
    """Return what lies around the square, and the square in it."""
    (left, top, right, bottom), (width, height) = _box(quad), image.size
    box = max(left - border, 0), max(top - border, 0), min(right + border, width), min(bottom + border, height)
    if box[2] - box[0] < width or box[3] - box[1] < height:
        return image.crop(box), quad - box[:2]
    return image, quad


def _missing(image: Image.Image, quad: np.ndarray, border: int) -> list[int]:
    """Return the pixels that the square with its border lacks at the left, top, right and bottom."""
    (left, top, right, bottom), (width, height) = _box(quad), image.size
    return [max(border - left, 0), max(border - top, 0), max(right - width + border, 0),
            max(bottom - height + border, 0)]


def _padded(pixels: np.ndarray, pad: list[int], blur: float) -> np.ndarray:
    """Return uint8 pixels with mirrored borders: blurred from the picture's own edge on, at last their median."""
    left, top, right, bottom = pad
    image = np.pad(pixels.astype(np.float32), ((top, bottom), (left, right), (0, 0)), "reflect")
    height, width, _ = image.shape
    y, x = np.ogrid[:height, :width]
    # 1 at the outer edge, 0 at the picture's; negative inside.
    mask = np.maximum(1.0 - np.minimum(np.float32(x) / left, np.float32(width - 1 - x) / right),
                      1.0 - np.minimum(np.float32(y) / top, np.float32(height - 1 - y) / bottom))[:, :, None]
    image += (gaussian(image, blur) - image) * np.clip(mask * 3.0 + 1.0, 0.0, 1.0)
    image += (np.median(image, axis=(0, 1)) - image) * np.clip(mask, 0.0, 1.0)
    return np.uint8(np.clip(np.rint(image), 0, 255))


def gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return a float32 picture [H, W, C] blurred along both sides by a Gaussian of deviation `sigma` pixels.

    Bit for bit scipy.ndimage.gaussian_filter(image, [sigma, sigma, 0]), which the published procedure calls: truncated
    after four deviations, the edge mirrored with its last pixel, summed in double precision from the outside in.
    """
    radius = int(_TRUNCATE * sigma + 0.5)
    if radius == 0:
        return image.copy()
    at = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 / (sigma * sigma) * at**2)
    weights /= weights.sum()
    # One axis after the other, the blurred one first, so that every tap is a run of numbers side by side.
    for _ in range(2):
        image = np.ascontiguousarray(_correlated(image, weights, radius).swapaxes(0, 1))
    return image


def _correlated(image: np.ndarray, weights: np.ndarray, radius: int) -> np.ndarray:
    rows, flat = len(image), np.pad(image, ((radius, radius), (0, 0), (0, 0)), "symmetric").astype(np.float64)
    flat = flat.reshape(len(flat), -1)
    result = np.empty((rows, flat.shape[1]), np.float32)
    step = max(_BLOCK // max(rows, 1), 1)
    for start in range(0, flat.shape[1], step):
        columns = np.ascontiguousarray(flat[:, start:start + step])
        total = columns[radius:radius + rows] * weights[radius]
        pair = np.empty_like(total)
        for reach in range(radius, 0, -1):
            before, after = (columns[at:at + rows] for at in (radius - reach, radius + reach))
            total += np.multiply(np.add(before, after, out=pair), weights[radius - reach], out=pair)
        result[:, start:start + step] = total
    return result.reshape(image.shape)

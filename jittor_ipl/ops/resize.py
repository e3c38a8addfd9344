"""Image resizing equal to PyTorch's `interpolate` with half-pixel centres (`align_corners=False`).

Each mode is a matrix per axis, made in NumPy in PyTorch's own float32 arithmetic, so one product per axis does it all.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ..runtime.backend import jt

MODES = ("bicubic", "bilinear", "nearest", "area")


def resize(x: jt.Var, size: int | tuple[int, int], mode: str = "bicubic", antialias: bool = False) -> jt.Var:
    """Resize `x` [B, C, H, W] to `size` (h, w), differentiably; a single number means a square.

    Without antialiasing the bicubic filter has a = -0.75, with it a = -0.5, both as in PyTorch (and Pillow);
    `antialias` applies to bicubic and bilinear only. Bicubic results may overshoot the range of the input.
    """
    height, width = (size, size) if isinstance(size, int) else size
    assert mode in MODES and not (antialias and mode in ("nearest", "area")), (mode, antialias)
    b, c, h, w = x.shape
    if w != width:
        x = jt.matmul(x.reshape(b * c * h, w), jt.array(axis_matrix(w, width, mode, antialias).T.copy()))
    if h != height:
        x = x.reshape(b * c, h, width).transpose(0, 2, 1).reshape(b * c * width, h)
        x = jt.matmul(x, jt.array(axis_matrix(h, height, mode, antialias).T.copy()))
        x = x.reshape(b * c, width, height).transpose(0, 2, 1)
    return x.reshape(b, c, height, width)


@lru_cache(maxsize=256)
def axis_matrix(source: int, target: int, mode: str, antialias: bool = False) -> np.ndarray:
    """Return the float32 matrix [target, source] that resizes one axis."""
    assert source > 0 and target > 0, (source, target)
    if mode == "nearest":
        return _nearest(source, target)
    if mode == "area":
        return _area(source, target)
    if antialias:
        return _antialiased(source, target, *_FILTERS[mode])
    return _bicubic(source, target) if mode == "bicubic" else _bilinear(source, target)


def cubic(x: np.ndarray, a: float) -> np.ndarray:
    """Return Keys' cubic convolution filter at distances `x` (Keys 1981)."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def triangle(x: np.ndarray) -> np.ndarray:
    """Return the linear filter at distances `x`."""
    return np.maximum(1.0 - np.abs(x), 0.0)


_FILTERS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "bilinear": (triangle, 1.0), "bicubic": (lambda x: cubic(x, -0.5), 2.0)}


def _centres(source: int, target: int) -> np.ndarray:
    scale = np.float32(source) / np.float32(target)
    return scale * (np.arange(target, dtype=np.float32) + np.float32(0.5))


def _scatter(source: int, columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the matrix whose row i has `weights[i, t]` added at column `columns[i, t]`, clamped to the image."""
    matrix = np.zeros((len(columns), source), np.float32)
    rows = np.repeat(np.arange(len(columns)), columns.shape[1])
    np.add.at(matrix, (rows, np.clip(columns, 0, source - 1).ravel()), weights.astype(np.float32).ravel())
    return matrix


def _bicubic(source: int, target: int) -> np.ndarray:
    position = _centres(source, target) - np.float32(0.5)
    columns = np.floor(position).astype(int)[:, None] + np.arange(-1, 3)
    return _scatter(source, columns, cubic(position[:, None] - columns, -0.75))


def _bilinear(source: int, target: int) -> np.ndarray:
    position = np.maximum(_centres(source, target) - np.float32(0.5), 0)
    columns = np.floor(position).astype(int)[:, None] + np.arange(2)
    return _scatter(source, columns, triangle(position[:, None] - columns))


def _nearest(source: int, target: int) -> np.ndarray:
    scale = np.float32(source) / np.float32(target)
    columns = np.floor(np.arange(target, dtype=np.float32) * scale).astype(int)[:, None]
    return _scatter(source, columns, np.ones_like(columns))


def _area(source: int, target: int) -> np.ndarray:
    index = np.arange(target)
    first, last = index * source // target, -(-(index + 1) * source // target)
    inside = (np.arange(source) >= first[:, None]) & (np.arange(source) < last[:, None])
    return (inside / (last - first)[:, None]).astype(np.float32)


def _antialiased(source: int, target: int, filter_: Callable[[np.ndarray], np.ndarray], radius: float) -> np.ndarray:
    stretch = max(np.float32(source) / np.float32(target), np.float32(1))
    centre, support = _centres(source, target), np.float32(radius) * stretch
    first = np.maximum((centre - support + np.float32(0.5)).astype(int), 0)
    last = np.minimum((centre + support + np.float32(0.5)).astype(int), source)
    pixel = np.arange(source)
    weights = filter_((pixel - centre[:, None] + np.float32(0.5)) / stretch)
    weights = weights * ((pixel >= first[:, None]) & (pixel < last[:, None]))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)

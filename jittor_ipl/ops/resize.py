"""Image resizing equal to PyTorch's `interpolate` with half-pixel centres (`align_corners=False`), one mode without.

Each mode is a matrix per axis, made in NumPy in PyTorch's own float32 arithmetic. Its rows have few entries, side by
side, so one kernel that gathers along an axis serves every mode, and with the transposed matrix the gradient as well.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from jittor_ipl.ops.kernel import Kernel
from jittor_ipl.runtime.backend import jt

# in0 [outer, source, inner], in1 weights [target, taps], in2 first source sample and number of samples [target, 2].
GATHER = Kernel(
    shared="""
    IPL_BOTH float ipl_gather(const float* x, const float* weights, long count, long inner) {
        float sum = 0;
        for (long t = 0; t < count; t++) sum += weights[t] * x[t * inner];
        return sum;
    }
    """,
    cpu="""
    const long outer = in0_shape0, source = in0_shape1, inner = in0_shape2, target = out0_shape1, taps = in1_shape1;
    #pragma omp parallel for
    for (long o = 0; o < outer; o++)
        for (long r = 0; r < target; r++) {
            const float* __restrict__ x = in0_p + (o * source + in2_p[2 * r]) * inner;
            const float* weights = in1_p + r * taps;
            float* __restrict__ y = out0_p + (o * target + r) * inner;
            if (inner == 1) { *y = ipl_gather(x, weights, in2_p[2 * r + 1], 1); continue; }
            for (long i = 0; i < inner; i++) y[i] = 0;
            for (long t = 0; t < in2_p[2 * r + 1]; t++)
                for (long i = 0; i < inner; i++) y[i] += weights[t] * x[t * inner + i];
        }
    """,
    cuda_kernels="""
    static __global__ void ipl_resize(const float* x, const float* weights, const int* span, float* y, long n,
                                      long source, long target, long inner, long taps) {
        IPL_THREAD(i, n);
        const long r = i / inner % target, o = i / (inner * target);
        x += (o * source + span[2 * r]) * inner + i % inner;
        y[i] = ipl_gather(x, weights + r * taps, span[2 * r + 1], inner);
    }
    """,
    cuda="""
    const long n = (long)out0_shape0 * out0_shape1 * out0_shape2;
    if (n) ipl_resize<<<IPL_GRID(n)>>>(in0_p, in1_p, in2_p, out0_p, n, in0_shape1, out0_shape1, in0_shape2, in1_shape1);
    """)

MODES = ("bicubic", "bilinear", "bilinear-corners", "nearest", "area", "box")


def resize(x: jt.Var, size: int | tuple[int, int], mode: str = "bicubic", antialias: bool = False) -> jt.Var:
    """Resize `x` [B, C, H, W] to `size` (h, w); a single number means a square. Differentiable any number of times.

    Without antialiasing the bicubic filter has a = -0.75, with it a = -0.5, both as in PyTorch (and Pillow);
    `antialias` applies to bicubic and bilinear only. "bilinear-corners" lays the centres of the corner samples on each
    other (`align_corners=True`). Bicubic results may overshoot the range of the input. "area" is PyTorch's: the mean of
    all pixels that a new one touches; "box" weighs them by the area that it covers.
    """
    height, width = (size, size) if isinstance(size, int) else size
    assert mode in MODES and not (antialias and mode not in _FILTERS), (mode, antialias)
    b, c, h, w = x.shape
    assert min(height, width, h, w) >= 1, (x.shape, size)
    if h != height:
        x = _Resample(h, height, mode, antialias)(x.reshape(b * c, h, w))
    if w != width:
        x = _Resample(w, width, mode, antialias)(x.reshape(b * c * height, w, 1))
    return x.reshape(b, c, height, width)


class _Resample(jt.Function):
    """Multiply axis 1 of [outer, n, inner] by a resize's matrix or by its transpose; the gradient is the other."""

    def __init__(self, *axis, transposed: bool = False):
        self.axis, self.transposed = axis, transposed

    def execute(self, x):
        weights, spans = _spans(*self.axis, transposed=self.transposed)
        return GATHER([(x.shape[0], len(weights), x.shape[2])], [x, jt.array(weights), jt.array(spans)])[0]

    def grad(self, g):
        return _Resample(*self.axis, transposed=not self.transposed)(g)


@lru_cache(maxsize=256)
def _spans(source: int, target: int, mode: str, antialias: bool, transposed: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return the non-zero stretch of each row of the matrix: weights [rows, taps], (first, count) [rows, 2]."""
    matrix = axis_matrix(source, target, mode, antialias)
    matrix = matrix.T if transposed else matrix
    used = matrix != 0
    first = used.argmax(1)
    count = np.where(used.any(1), matrix.shape[1] - used[:, ::-1].argmax(1) - first, 0)
    weights = np.zeros((len(matrix), max(int(count.max()), 1)), np.float32)
    for row, (start, number) in enumerate(zip(first, count)):
        weights[row, :number] = matrix[row, start:start + number]
    return weights, np.stack([first, count], 1).astype(np.int32)


@lru_cache(maxsize=256)
def axis_matrix(source: int, target: int, mode: str, antialias: bool = False) -> np.ndarray:
    """Return the float32 matrix [target, source] that resizes one axis (shared: do not write into it)."""
    assert source > 0 and target > 0, (source, target)
    if mode == "area":
        return _area(source, target)
    if mode == "box":
        return _box(source, target)
    if antialias:
        return _antialiased(source, target, *_FILTERS[mode])
    return _interpolated(source, target, mode)


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


def _interpolated(source: int, target: int, mode: str) -> np.ndarray:
    """Return the matrix whose row i weighs the samples around position i; those outside count at the border."""
    position = _centres(source, target) - np.float32(0.5)
    reach, filter_ = range(-1, 3), lambda distance: cubic(distance, -0.75)
    if mode == "bilinear":
        position, reach, filter_ = np.maximum(position, 0), range(2), triangle
    elif mode == "nearest":
        scale = np.float32(source) / np.float32(target)
        position, reach, filter_ = np.arange(target, dtype=np.float32) * scale, range(1), np.ones_like
    elif mode == "bilinear-corners":
        scale = np.float32(source - 1) / np.float32(max(target - 1, 1))
        position, reach, filter_ = np.arange(target, dtype=np.float32) * scale, range(2), triangle
    columns = np.floor(position).astype(int)[:, None] + np.array(reach)
    weights = filter_(position[:, None] - columns).astype(np.float32)
    matrix = np.zeros((target, source), np.float32)
    rows = np.repeat(np.arange(target), len(reach))
    np.add.at(matrix, (rows, np.clip(columns, 0, source - 1).ravel()), weights.ravel())
    return matrix


def _area(source: int, target: int) -> np.ndarray:
    index = np.arange(target)
    first, last = index * source // target, -(-(index + 1) * source // target)
    inside = (np.arange(source) >= first[:, None]) & (np.arange(source) < last[:, None])
    return (inside / (last - first)[:, None]).astype(np.float32)


def _box(source: int, target: int) -> np.ndarray:
    """Return the share of each new pixel that lies on each old one, in exact arithmetic until the last division."""
    ends, pixel = np.arange(target + 1)[:, None] * source, np.arange(source) * target      # both in 1/target of a pixel
    overlap = np.minimum(ends[1:], pixel + target) - np.maximum(ends[:-1], pixel)
    return (np.maximum(overlap, 0) / source).astype(np.float32)


def _antialiased(source: int, target: int, filter_: Callable[[np.ndarray], np.ndarray], radius: float) -> np.ndarray:
    stretch = max(np.float32(source) / np.float32(target), np.float32(1))
    centre, support = _centres(source, target), np.float32(radius) * stretch
    first = np.maximum((centre - support + np.float32(0.5)).astype(int), 0)
    last = np.minimum((centre + support + np.float32(0.5)).astype(int), source)
    pixel = np.arange(source)
    weights = filter_((pixel - centre[:, None] + np.float32(0.5)) / stretch)
    weights = weights * ((pixel >= first[:, None]) & (pixel < last[:, None]))
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)

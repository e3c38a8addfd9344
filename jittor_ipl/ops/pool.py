"""Pooling over windows, as PyTorch's: the maximum, and the mean over what lies inside the picture.

One kernel serves every window, stride and padding (Jittor's own pools compile one per geometry, and refuse a picture of
the window's size). The gradient gathers: every pixel sums over the windows that contain it, so its order is fixed.
"""
from __future__ import annotations

from jittor_ipl.ops.kernel import Kernel, OnceDifferentiable
from jittor_ipl.runtime.backend import jt

_SHARED = """
// First and last-but-one sample of window `o` inside [0, n).
IPL_BOTH void ipl_window(long o, long k, long s, long p, long n, long& first, long& end) {
    first = o * s - p; end = first + k;
    if (first < 0) first = 0;
    if (end > n) end = n;
}
// Windows [first, end) that contain sample `i`.
IPL_BOTH void ipl_windows_of(long i, long k, long s, long p, long outputs, long& first, long& end) {
    first = i + p - k + 1; first = first <= 0 ? 0 : (first + s - 1) / s;
    end = (i + p) / s + 1;
    if (end > outputs) end = outputs;
}
IPL_BOTH void ipl_pool(const float* x, long h, long w, long r, long c, long k, long s, long p, bool mean,
                       float* value, float* index) {
    long top, bottom, left, right;
    ipl_window(r, k, s, p, h, top, bottom);
    ipl_window(c, k, s, p, w, left, right);
    float best = x[top * w + left], sum = 0;
    long where = top * w + left;
    for (long i = top; i < bottom; i++)
        for (long j = left; j < right; j++) {
            const float v = x[i * w + j];
            sum += v;
            if (v > best) { best = v; where = i * w + j; }
        }
    *value = mean ? sum / ((bottom - top) * (right - left)) : best;
    *index = where;
}
IPL_BOTH float ipl_unpool(const float* g, const float* index, long h, long w, long oh, long ow, long i, long j,
                          long k, long s, long p, bool mean) {
    long r0, r1, c0, c1, top, bottom, left, right;
    ipl_windows_of(i, k, s, p, oh, r0, r1);
    ipl_windows_of(j, k, s, p, ow, c0, c1);
    float sum = 0;
    for (long r = r0; r < r1; r++)
        for (long c = c0; c < c1; c++) {
            if (mean) {
                ipl_window(r, k, s, p, h, top, bottom);
                ipl_window(c, k, s, p, w, left, right);
                sum += g[r * ow + c] / ((bottom - top) * (right - left));
            } else if ((long)index[r * ow + c] == i * w + j) sum += g[r * ow + c];
        }
    return sum;
}
"""
_NUMBERS = """
    const long k = data["kernel"], s = data["stride"], p = data["padding"];
    const bool mean = data["mean"] != 0;
"""
POOL = Kernel(
    shared=_SHARED,
    cpu=_NUMBERS + """
    const long planes = in0_shape0, h = in0_shape1, w = in0_shape2, oh = out0_shape1, ow = out0_shape2;
    #pragma omp parallel for
    for (long b = 0; b < planes; b++)
        for (long r = 0; r < oh; r++)
            for (long c = 0; c < ow; c++)
                ipl_pool(in0_p + b * h * w, h, w, r, c, k, s, p, mean, out0_p + (b * oh + r) * ow + c,
                         out1_p + (b * oh + r) * ow + c);
    """,
    cuda_kernels="""
    static __global__ void ipl_pools(const float* x, float* y, float* index, long n, long h, long w, long oh, long ow,
                                     long k, long s, long p, bool mean) {
        IPL_THREAD(i, n);
        ipl_pool(x + i / (oh * ow) * h * w, h, w, i / ow % oh, i % ow, k, s, p, mean, y + i, index + i);
    }
    """,
    cuda=_NUMBERS + """
    const long n = (long)out0_shape0 * out0_shape1 * out0_shape2;
    if (n) ipl_pools<<<IPL_GRID(n)>>>(in0_p, out0_p, out1_p, n, in0_shape1, in0_shape2, out0_shape1, out0_shape2, k, s,
                                      p, mean);
    """)
UNPOOL = Kernel(
    shared=_SHARED,
    cpu=_NUMBERS + """
    const long planes = in0_shape0, oh = in0_shape1, ow = in0_shape2, h = out0_shape1, w = out0_shape2;
    #pragma omp parallel for
    for (long b = 0; b < planes; b++)
        for (long i = 0; i < h; i++)
            for (long j = 0; j < w; j++)
                out0_p[(b * h + i) * w + j] = ipl_unpool(in0_p + b * oh * ow, in1_p + b * oh * ow, h, w, oh, ow, i, j,
                                                         k, s, p, mean);
    """,
    cuda_kernels="""
    static __global__ void ipl_unpools(const float* g, const float* index, float* dx, long n, long h, long w, long oh,
                                       long ow, long k, long s, long p, bool mean) {
        IPL_THREAD(i, n);
        const long plane = i / (h * w) * oh * ow;
        dx[i] = ipl_unpool(g + plane, index + plane, h, w, oh, ow, i / w % h, i % w, k, s, p, mean);
    }
    """,
    cuda=_NUMBERS + """
    const long n = (long)out0_shape0 * out0_shape1 * out0_shape2;
    if (n) ipl_unpools<<<IPL_GRID(n)>>>(in0_p, in1_p, out0_p, n, out0_shape1, out0_shape2, in0_shape1, in0_shape2, k,
                                        s, p, mean);
    """)


def max_pool(x: jt.Var, kernel: int, stride: int, padding: int = 0, ceil: bool = False) -> jt.Var:
    """Return the maximum of every window of `x` [B, C, H, W]; equals `F.max_pool2d`. Differentiable once.

    With `ceil` a last window that reaches beyond the picture counts, if it starts inside. At most 2^24 pixels.
    """
    return _pool(x, ceil, kernel=kernel, stride=stride, padding=padding, mean=False)


def average_pool(x: jt.Var, kernel: int, stride: int, padding: int = 0) -> jt.Var:
    """Return the mean of every window of `x` [B, C, H, W] over the pixels inside the picture. Differentiable once.

    Equals `F.avg_pool2d(..., count_include_pad=False)`, which is TensorFlow's.
    """
    if kernel == stride and not padding:            # windows that do not overlap: Jittor's own sum, faster in both ways
        b, c, rows, columns = *x.shape[:2], x.shape[2] // kernel, x.shape[3] // kernel
        x = x if tuple(x.shape[2:]) == (rows * kernel, columns * kernel) else x[:, :, :rows * kernel, :columns * kernel]
        return x.reshape(b, c, rows, kernel, columns, kernel).sum([3, 5]) * (1.0 / kernel**2)
    return _pool(x, False, kernel=kernel, stride=stride, padding=padding, mean=True)


def _pool(x: jt.Var, ceil: bool, **window: int) -> jt.Var:
    b, c, h, w = x.shape
    assert 2 * window["padding"] <= window["kernel"] and h * w <= 2**24, (x.shape, window)
    size = _windows(h, ceil, **window), _windows(w, ceil, **window)
    return _Pool(window, size)(x.reshape(b * c, h, w)).reshape(b, c, *size)


def _windows(n: int, ceil: bool, kernel: int, stride: int, padding: int, **_: int) -> int:
    """Return the number of windows along an axis; with `ceil` a last one may stick out, if it starts inside."""
    free = n + 2 * padding - kernel
    assert free >= 0, f"{n} samples are fewer than the window's {kernel}"
    number = free // stride + 1
    return number + (ceil and free % stride > 0 and number * stride < n + padding)


class _Pool(jt.Function):
    def __init__(self, window: dict[str, int], size: tuple[int, int]):
        self.window, self.size = window, size

    def execute(self, x):
        shape = (x.shape[0], *self.size)
        y, self.index = POOL([shape, shape], [x], **self.window)
        self.source = x.shape
        return y

    def grad(self, g):
        return OnceDifferentiable("a pool", UNPOOL, self.source, **self.window)(g, self.index)

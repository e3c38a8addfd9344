"""Scaled dot-product attention."""
from __future__ import annotations

from jittor_ipl.ops.bmm import bmm
from jittor_ipl.ops.exponential import EXP, PEAK
from jittor_ipl.ops.kernel import Kernel, OnceDifferentiable
from jittor_ipl.ops.sliced_attention import SlicedAttention
from jittor_ipl.runtime.backend import jt, on_gpu

CUDA_SMALL = 1 << 22     # scores of a sample below which a GPU computes a whole batch at once
_SHARED = EXP + """
IPL_BOTH float ipl_softmax_grad(float g, float y, float dot) { return y * (g - dot); }
"""
SOFTMAX = Kernel(
    shared=_SHARED,
    cpu_extra=PEAK,
    cpu="""
    const long rows = in0_shape0, n = in0_shape1;
    #pragma omp parallel for
    for (long r = 0; r < rows; r++) {
        const float* __restrict__ x = in0_p + r * n;
        float* __restrict__ y = out0_p + r * n;
        const float peak = ipl_peak(x, n);
        float total = 0;
        for (long i = 0; i < n; i++) total += y[i] = ipl_exp(x[i] - peak);
        const float scale = 1 / total;
        for (long i = 0; i < n; i++) y[i] *= scale;
    }
    """,
    cuda_kernels="""
    static __global__ void ipl_softmax(const float* x, float* y, long n) {
        x += blockIdx.x * n;
        y += blockIdx.x * n;
        float peak = x[0], total = 0;
        for (long i = threadIdx.x; i < n; i += 256) peak = fmaxf(peak, x[i]);
        peak = ipl_block(peak, true);
        for (long i = threadIdx.x; i < n; i += 256) total += y[i] = ipl_exp(x[i] - peak);
        const float scale = 1 / ipl_block(total, false);
        for (long i = threadIdx.x; i < n; i += 256) y[i] *= scale;
    }
    """,
    cuda="if (in0_shape0) ipl_softmax<<<(int)in0_shape0, 256>>>(in0_p, out0_p, in0_shape1);")
SOFTMAX_GRAD = Kernel(
    shared=_SHARED,
    cpu="""
    const long rows = in0_shape0, n = in0_shape1;
    #pragma omp parallel for
    for (long r = 0; r < rows; r++) {
        const float* __restrict__ g = in0_p + r * n;
        const float* __restrict__ y = in1_p + r * n;
        float* __restrict__ dx = out0_p + r * n;
        float dot = 0;
        for (long i = 0; i < n; i++) dot += g[i] * y[i];
        for (long i = 0; i < n; i++) dx[i] = ipl_softmax_grad(g[i], y[i], dot);
    }
    """,
    cuda_kernels="""
    static __global__ void ipl_softmax_backward(const float* g, const float* y, float* dx, long n) {
        const long row = blockIdx.x * n;
        float dot = 0;
        for (long i = threadIdx.x; i < n; i += 256) dot += g[row + i] * y[row + i];
        dot = ipl_block(dot, false);
        for (long i = threadIdx.x; i < n; i += 256) dx[row + i] = ipl_softmax_grad(g[row + i], y[row + i], dot);
    }
    """,
    cuda="if (in0_shape0) ipl_softmax_backward<<<(int)in0_shape0, 256>>>(in0_p, in1_p, out0_p, in0_shape1);")


def softmax_reference(x: jt.Var) -> jt.Var:
    """Return the softmax of `x` [..., n] over the last axis with Jittor's own operators."""
    e = jt.exp(x - x.max(-1, keepdims=True).stop_grad())
    return e / e.sum(-1, keepdims=True)


def softmax(x: jt.Var) -> jt.Var:
    """Return the softmax of `x` [..., n] over the last axis, stable for large values; minus infinity becomes 0.

    Differentiable once.
    """
    assert x.shape[-1] >= 1, x.shape
    return _Softmax()(x.reshape(-1, x.shape[-1])).reshape(x.shape)


class _Softmax(jt.Function):
    def execute(self, x):
        self.y, = SOFTMAX([x.shape], [x])
        return self.y

    def grad(self, g):
        return OnceDifferentiable("softmax", SOFTMAX_GRAD, g.shape)(g, self.y)


def attention(q: jt.Var, k: jt.Var, v: jt.Var, heads: int, mask: jt.Var | None = None,
              keep: jt.Var | None = None) -> jt.Var:
    """Return `softmax(q k^T / sqrt(d) + mask) v` of heads side by side, [B, n, width] (Vaswani et al. 2017, eq. 1).

    `q` is [B, n, width], `k` and `v` [B, m, width], d = width / heads; `mask` [n, m] is added, minus infinity where a
    key is hidden; `keep` [B, heads, n, m] multiplies the softmax (dropout). Differentiable once. Only with `keep` are
    all the scores in memory at once.
    """
    (_, n, width), m = q.shape, k.shape[1]
    assert width % heads == 0, f"width {width} is not a multiple of {heads} heads"
    assert k.shape == v.shape, (k.shape, v.shape)
    assert mask is None or tuple(mask.shape) == (n, m), (mask.shape, n, m)
    if keep is not None or (on_gpu() and heads * n * m < CUDA_SMALL):
        return attention_reference(q, k, v, heads, mask, keep)
    return SlicedAttention(heads, mask is not None)(q, k, v, jt.zeros([1, 1]) if mask is None else mask)


def attention_reference(q: jt.Var, k: jt.Var, v: jt.Var, heads: int, mask: jt.Var | None = None,
                        keep: jt.Var | None = None) -> jt.Var:
    """`attention` in three steps, with the scores of all heads in memory."""
    (b, n, width), m = q.shape, k.shape[1]
    q, k, v = (x.reshape(b, -1, heads, width // heads).permute(0, 2, 1, 3).reshape(b * heads, -1, width // heads)
               for x in (q, k, v))
    scores = bmm(q * (width // heads)**-0.5, k, transpose_b=True)
    if mask is not None:
        scores = scores + mask.reshape(1, n, m)
    weights = softmax(scores)
    if keep is not None:
        weights = weights * keep.reshape(b * heads, n, m)
    return bmm(weights, v).reshape(b, heads, n, -1).permute(0, 2, 1, 3).reshape(b, n, width)

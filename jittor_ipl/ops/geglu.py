"""One half of a tensor gated by the GELU of the other, as one kernel each way; only the tensor itself is kept.

Composed of Jittor's operators, the gradient keeps both halves, the error function and the gate as well: four times the
memory, in the widest tensors of Stable Diffusion's transformers.
"""
from __future__ import annotations

from jittor_ipl.ops.activation import gelu
from jittor_ipl.ops.exponential import EXP
from jittor_ipl.ops.kernel import Kernel, OnceDifferentiable
from jittor_ipl.runtime.backend import jt

# The normal distribution from its tail: Phi(-|x|) = exp(-x^2 / 2) q(t), t = 1 / (1 + |x| / sqrt 8). q is our own
# minimax fit to erfc(z) exp(z^2) / 2 for z up to 9.5, relative error 4e-8, in float32 2.4e-7.
_SHARED = EXP + """
IPL_BOTH float ipl_normal(float x, float density) {     // density: exp(-x^2 / 2)
    const float t = 1.f / (1.f + 0.35355339f * (x < 0.f ? -x : x));
    float q = -0.0294453632f;
    q = ipl_fma(q, t, 0.141850859f);
    q = ipl_fma(q, t, -0.242691562f);
    q = ipl_fma(q, t, 0.137988701f);
    q = ipl_fma(q, t, -0.0125885643f);
    q = ipl_fma(q, t, 0.10103479f);
    q = ipl_fma(q, t, 0.121630535f);
    q = ipl_fma(q, t, 0.14117673f);
    q = ipl_fma(q, t, 0.141043842f);
    const float tail = q * t * density;
    return x < 0.f ? tail : 1.f - tail;
}
IPL_BOTH float ipl_geglu(float value, float x) { return value * x * ipl_normal(x, ipl_exp(-0.5f * x * x)); }
IPL_BOTH float ipl_geglu_grad(float g, float value, float x, float* of_value) {
    const float density = ipl_exp(-0.5f * x * x), normal = ipl_normal(x, density);
    *of_value = g * x * normal;
    return g * value * (normal + x * density * 0.39894228f);
}
"""
FORWARD = Kernel(
    shared=_SHARED,
    cpu="""
    const long rows = in0_shape0, n = out0_shape1;
    #pragma omp parallel for
    for (long r = 0; r < rows; r++) {
        const float* __restrict__ h = in0_p + r * 2 * n;
        float* __restrict__ y = out0_p + r * n;
        for (long i = 0; i < n; i++) y[i] = ipl_geglu(h[i], h[n + i]);
    }
    """,
    cuda_kernels="""
    static __global__ void ipl_geglu_forward(const float* h, float* y, long n, long count) {
        IPL_THREAD(i, count);
        const long at = i / n * 2 * n + i % n;
        y[i] = ipl_geglu(h[at], h[at + n]);
    }
    """,
    cuda="""
    const long count = (long)out0_shape0 * out0_shape1;
    if (count) ipl_geglu_forward<<<IPL_GRID(count)>>>(in0_p, out0_p, out0_shape1, count);
    """)
BACKWARD = Kernel(
    shared=_SHARED,
    cpu="""
    const long rows = in0_shape0, n = in0_shape1;
    #pragma omp parallel for
    for (long r = 0; r < rows; r++) {
        const float* __restrict__ g = in0_p + r * n;
        const float* __restrict__ h = in1_p + r * 2 * n;
        float* __restrict__ dh = out0_p + r * 2 * n;
        for (long i = 0; i < n; i++) dh[n + i] = ipl_geglu_grad(g[i], h[i], h[n + i], &dh[i]);
    }
    """,
    cuda_kernels="""
    static __global__ void ipl_geglu_backward(const float* g, const float* h, float* dh, long n, long count) {
        IPL_THREAD(i, count);
        const long at = i / n * 2 * n + i % n;
        dh[at + n] = ipl_geglu_grad(g[i], h[at], h[at + n], &dh[at]);
    }
    """,
    cuda="""
    const long count = (long)in0_shape0 * in0_shape1;
    if (count) ipl_geglu_backward<<<IPL_GRID(count)>>>(in0_p, in1_p, out0_p, in0_shape1, count);
    """)


def geglu(h: jt.Var) -> jt.Var:
    """Return `a * gelu(b)` [..., n] of `h` [..., 2 n], its halves a and b (Shazeer 2020). Differentiable once."""
    assert h.shape[-1] % 2 == 0, h.shape
    return _Geglu()(h.reshape(-1, h.shape[-1])).reshape(*h.shape[:-1], -1)


def geglu_reference(h: jt.Var) -> jt.Var:
    """`geglu` with Jittor's own operators; differentiable any number of times."""
    n = h.shape[-1] // 2
    return h[..., :n] * gelu(h[..., n:])


class _Geglu(jt.Function):
    def execute(self, h):
        self.h = h
        return FORWARD([[h.shape[0], h.shape[1] // 2]], [h])[0]

    def grad(self, g):
        return OnceDifferentiable("geglu", BACKWARD, self.h.shape)(g, self.h)[0]

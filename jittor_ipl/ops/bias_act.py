"""Bias, leaky ReLU and gain in one pass over the activations."""
from __future__ import annotations

from jittor_ipl.ops.kernel import Kernel
from jittor_ipl.runtime.backend import jt

# y has the sign of x + bias, so the gradient needs y only: g * (y > 0 ? gain : gain * slope).
_SHARED = """
IPL_BOTH float ipl_leaky(float value, float above, float below) { return value * (value > 0 ? above : below); }
IPL_BOTH float ipl_leaky_grad(float g, float y, float above, float below) { return g * (y > 0 ? above : below); }
"""
_NUMBERS = """
    const float above = data["gain"], below = above * data["slope"];
"""
FORWARD = Kernel(
    shared=_SHARED,
    cpu=_NUMBERS + """
    const long channels = in0_shape1, inner = in0_shape2, rows = in0_shape0 * channels;
    #pragma omp parallel for
    for (long row = 0; row < rows; row++) {
        const float bias = in1_p[row % channels];
        const float* __restrict__ x = in0_p + row * inner;
        float* __restrict__ y = out0_p + row * inner;
        for (long i = 0; i < inner; i++) y[i] = ipl_leaky(x[i] + bias, above, below);
    }
    """,
    cuda_kernels="""
    static __global__ void ipl_bias_act(const float* x, const float* bias, float* y, long n, long channels, long inner,
                                        float above, float below) {
        long i = blockIdx.x * (long)blockDim.x + threadIdx.x;
        if (i < n) y[i] = ipl_leaky(x[i] + bias[i / inner % channels], above, below);
    }
    """,
    cuda=_NUMBERS + """
    const long n = (long)in0_shape0 * in0_shape1 * in0_shape2;
    if (n) ipl_bias_act<<<IPL_GRID(n)>>>(in0_p, in1_p, out0_p, n, in0_shape1, in0_shape2, above, below);
    """)
# One channel belongs to one thread, so the sum over the batch has one order whatever the number of threads.
BACKWARD = Kernel(
    shared=_SHARED,
    cpu=_NUMBERS + """
    const long batch = in0_shape0, channels = in0_shape1, inner = in0_shape2;
    #pragma omp parallel for
    for (long c = 0; c < channels; c++) {
        double total = 0;
        for (long b = 0; b < batch; b++) {
            const float* __restrict__ g = in0_p + (b * channels + c) * inner;
            const float* __restrict__ y = in1_p + (b * channels + c) * inner;
            float* __restrict__ dx = out0_p + (b * channels + c) * inner;
            float row = 0;
            for (long i = 0; i < inner; i++) row += dx[i] = ipl_leaky_grad(g[i], y[i], above, below);
            total += row;
        }
        out1_p[c] = total;
    }
    """,
    cuda_kernels="""
    static __global__ void ipl_bias_act_grad(const float* g, const float* y, float* dx, float* db, long batch,
                                             long channels, long inner, float above, float below) {
        const long c = blockIdx.x;
        float total = 0;
        for (long j = threadIdx.x; j < batch * inner; j += blockDim.x) {
            const long i = (j / inner * channels + c) * inner + j % inner;
            total += dx[i] = ipl_leaky_grad(g[i], y[i], above, below);
        }
        total = ipl_block(total, false);
        if (threadIdx.x == 0) db[c] = total;
    }
    """,
    cuda=_NUMBERS + """
    if (in0_shape1) ipl_bias_act_grad<<<(int)in0_shape1, 256>>>(in0_p, in1_p, out0_p, out1_p, in0_shape0, in0_shape1,
                                                                in0_shape2, above, below);
    """)


def bias_act_reference(x: jt.Var, bias: jt.Var, negative_slope: float = 0.2, gain: float = 2**0.5) -> jt.Var:
    """Return `leaky_relu(x + bias) * gain` with Jittor's own operators; `x` [B, C, ...], `bias` [C]."""
    y = x + bias.reshape([1, -1] + [1] * (x.ndim - 2))
    return jt.ternary(y > 0, y, y * negative_slope) * gain


def bias_act(x: jt.Var, bias: jt.Var, negative_slope: float = 0.2, gain: float = 2**0.5) -> jt.Var:
    """Return `leaky_relu(x + bias) * gain`; `x` [B, C, ...], `bias` [C] (fused_leaky_relu of StyleGAN2's code).

    Twice differentiable; `gain` and `negative_slope` must be positive.
    """
    assert tuple(bias.shape) == (x.shape[1],) and gain > 0 < negative_slope, (x.shape, bias.shape, gain)
    flat = x.reshape(x.shape[0], x.shape[1], -1)
    return _BiasAct()(flat, bias, negative_slope, gain).reshape(x.shape)


class _BiasAct(jt.Function):
    def execute(self, x, bias, slope, gain):
        self.numbers = {"slope": slope, "gain": gain}
        self.y, = FORWARD([x.shape], [x, bias], **self.numbers)
        return self.y

    def grad(self, g):
        return *_BiasActGrad()(g, self.y, self.numbers), None, None


class _BiasActGrad(jt.Function):
    def execute(self, g, y, numbers):
        self.y, self.numbers = y.stop_grad(), numbers
        return BACKWARD([g.shape, [g.shape[1]]], [g, y], **numbers)

    def grad(self, ddx, ddb):
        """Both outputs are linear in the incoming gradient, with the same mask."""
        total = ddx if ddx is not None else jt.zeros(self.y.shape)
        if ddb is not None:
            total = total + ddb.reshape(1, -1, 1)
        return _BiasActGrad()(total, self.y, self.numbers)[0], None, None

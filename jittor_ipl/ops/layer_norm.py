"""Layer norm in two passes over each row, with its gradient, as one kernel each."""
from __future__ import annotations

from jittor_ipl.ops.kernel import Kernel, OnceDifferentiable
from jittor_ipl.ops.moments import MOMENTS, NORM_GRAD
from jittor_ipl.runtime.backend import jt

FORWARD = Kernel(
    cpu="""
    const long rows = in0_shape0, n = in0_shape1;
    const float eps = data["eps"];
    #pragma omp parallel for
    for (long r = 0; r < rows; r++) {
        const float* __restrict__ x = in0_p + r * n;
        float* __restrict__ y = out0_p + r * n;
        float sum = 0, squares = 0;
        for (long i = 0; i < n; i++) sum += x[i];
        const float mean = sum / n;
        for (long i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
        const float scale = 1 / std::sqrt(squares / n + eps);
        for (long i = 0; i < n; i++) y[i] = (x[i] - mean) * scale * in1_p[i] + in2_p[i];
        out1_p[2 * r] = mean;
        out1_p[2 * r + 1] = scale;
    }
    """,
    cuda_kernels=MOMENTS + """
    static __global__ void ipl_layer_norm(const float* x, const float* weight, const float* bias, float* y,
                                          float* stats, long n, float eps) {
        x += blockIdx.x * n;
        y += blockIdx.x * n;
        float mean, scale;
        ipl_moments(x, n, eps, mean, scale);
        for (long i = threadIdx.x; i < n; i += 256) y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
        if (threadIdx.x == 0) stats[2 * blockIdx.x] = mean, stats[2 * blockIdx.x + 1] = scale;
    }
    """,
    cuda="""
    if (in0_shape0) ipl_layer_norm<<<(int)in0_shape0, 256>>>(in0_p, in1_p, in2_p, out0_p, out1_p, in0_shape1,
                                                             (float)data["eps"]);
    """)
# Sums over rows are taken in blocks of fixed size, so their order does not depend on the number of threads.
BACKWARD = Kernel(
    shared=NORM_GRAD,
    cpu="""
    const long rows = in0_shape0, n = in0_shape1, block = 32, blocks = (rows + block - 1) / block;
    std::vector<float> partial(blocks * 2 * n, 0.f);
    #pragma omp parallel for
    for (long k = 0; k < blocks; k++) {
        float* __restrict__ dw = partial.data() + k * 2 * n;
        float* __restrict__ db = dw + n;
        for (long r = k * block; r < std::min(rows, (k + 1) * block); r++) {
            const float* __restrict__ g = in0_p + r * n;
            const float* __restrict__ x = in1_p + r * n;
            const float* __restrict__ w = in2_p;
            float* __restrict__ dx = out0_p + r * n;
            const float mean = in3_p[2 * r], scale = in3_p[2 * r + 1];
            float sum = 0, dot = 0;
            for (long i = 0; i < n; i++) {
                const float z = (x[i] - mean) * scale, gw = g[i] * w[i];
                sum += gw;
                dot += gw * z;
                dw[i] += g[i] * z;
                db[i] += g[i];
            }
            for (long i = 0; i < n; i++)
                dx[i] = ipl_norm_grad(g[i] * w[i], (x[i] - mean) * scale, sum / n, dot / n, scale);
        }
    }
    for (long i = 0; i < n; i++) out1_p[i] = out2_p[i] = 0;
    for (long k = 0; k < blocks; k++)
        for (long i = 0; i < n; i++) out1_p[i] += partial[k * 2 * n + i], out2_p[i] += partial[(k * 2 + 1) * n + i];
    """,
    cuda_kernels="""
    static __global__ void ipl_layer_norm_dx(const float* g, const float* x, const float* w, const float* stats,
                                             float* dx, long n) {
        const long row = blockIdx.x * n;
        const float mean = stats[2 * blockIdx.x], scale = stats[2 * blockIdx.x + 1];
        float sum = 0, dot = 0;
        for (long i = threadIdx.x; i < n; i += 256) {
            const float gw = g[row + i] * w[i];
            sum += gw;
            dot += gw * (x[row + i] - mean) * scale;
        }
        sum = ipl_block(sum, false) / n;
        dot = ipl_block(dot, false) / n;
        for (long i = threadIdx.x; i < n; i += 256)
            dx[row + i] = ipl_norm_grad(g[row + i] * w[i], (x[row + i] - mean) * scale, sum, dot, scale);
    }
    static __global__ void ipl_layer_norm_dw(const float* g, const float* x, const float* stats, float* dw, float* db,
                                             long rows, long n) {
        IPL_THREAD(i, n);
        float weight = 0, bias = 0;
        for (long r = 0; r < rows; r++) {
            weight += g[r * n + i] * (x[r * n + i] - stats[2 * r]) * stats[2 * r + 1];
            bias += g[r * n + i];
        }
        dw[i] = weight;
        db[i] = bias;
    }
    """,
    cuda="""
    if (in0_shape0) ipl_layer_norm_dx<<<(int)in0_shape0, 256>>>(in0_p, in1_p, in2_p, in3_p, out0_p, in0_shape1);
    ipl_layer_norm_dw<<<IPL_GRID(in0_shape1)>>>(in0_p, in1_p, in3_p, out1_p, out2_p, in0_shape0, in0_shape1);
    """)


class FusedLayerNorm(jt.Function):
    """`execute(x [N, n], weight [n], bias [n]) -> [N, n]`; `norms.layer_norm` is the public entrance."""

    def __init__(self, eps: float):
        self.eps = eps

    def execute(self, x, weight, bias):
        y, stats = FORWARD([x.shape, [x.shape[0], 2]], [x, weight, bias], eps=self.eps)
        self.saved = x, weight, stats
        return y

    def grad(self, g):
        x, weight, _ = self.saved
        return OnceDifferentiable("layer_norm", BACKWARD, x.shape, weight.shape, weight.shape)(g, *self.saved)

"""Group norm in two passes over each group, with the SiLU that follows it in most networks, and its gradient."""
from __future__ import annotations

from jittor_ipl.ops.exponential import EXP
from jittor_ipl.ops.kernel import Kernel, OnceDifferentiable
from jittor_ipl.ops.moments import MOMENTS, NORM_GRAD
from jittor_ipl.runtime.backend import jt

# x [B, C, S]; a unit is one group of one sample, `per` channels of S numbers that lie side by side.
_SIZES = """
    const long B = x_shape0, C = x_shape1, S = x_shape2, groups = data["groups"], per = C / groups, n = per * S;
    const bool silu = data["silu"];
"""
_SHARED = EXP + NORM_GRAD + """
IPL_BOTH float ipl_silu(float z) { return z / (1.f + ipl_exp(-z)); }
IPL_BOTH float ipl_silu_grad(float z) {
    const float s = 1.f / (1.f + ipl_exp(-z));
    return s * (1.f + z * (1.f - s));
}
"""
# Blocks of 1024 numbers in float32, their sums in float64: the error does not grow with the group.
_SUMS = """
static float ipl_sum(const float* __restrict__ x, long n, float mean, bool squares) {
    double total = 0;
    for (long start = 0; start < n; start += 1024) {
        const long end = std::min(n, start + 1024), whole = start + (end - start) / 64 * 64;
        float lane[64] = {0}, sum = 0;
        if (squares) {
            for (long i = start; i < whole; i += 64)
                for (int l = 0; l < 64; l++) lane[l] += (x[i + l] - mean) * (x[i + l] - mean);
            for (long i = whole; i < end; i++) sum += (x[i] - mean) * (x[i] - mean);
        } else {
            for (long i = start; i < whole; i += 64)
                for (int l = 0; l < 64; l++) lane[l] += x[i + l];
            for (long i = whole; i < end; i++) sum += x[i];
        }
        for (int l = 0; l < 64; l++) sum += lane[l];
        total += sum;
    }
    return total / n;
}
"""
FORWARD = Kernel(
    shared=_SHARED,
    cpu_extra=_SUMS,
    cpu=_SIZES.replace("x_", "in0_") + """
    const float eps = data["eps"];
    #pragma omp parallel for
    for (long u = 0; u < B * groups; u++) {
        const float* x = in0_p + u * n;
        const float mean = ipl_sum(x, n, 0, false), scale = 1 / std::sqrt(ipl_sum(x, n, mean, true) + eps);
        for (long c = 0; c < per; c++) {
            const long channel = u % groups * per + c;
            const float* __restrict__ from = x + c * S;
            float* __restrict__ y = out0_p + u * n + c * S;
            const float weight = scale * in1_p[channel], bias = in2_p[channel];
            if (silu) for (long i = 0; i < S; i++) y[i] = ipl_silu((from[i] - mean) * weight + bias);
            else for (long i = 0; i < S; i++) y[i] = (from[i] - mean) * weight + bias;
        }
        out1_p[2 * u] = mean;
        out1_p[2 * u + 1] = scale;
    }
    """,
    cuda_kernels=MOMENTS + """
    static __global__ void ipl_group_norm(const float* x, const float* weight, const float* bias, float* y,
                                          float* stats, long groups, long per, long S, float eps, bool silu) {
        const long n = per * S, first = blockIdx.x % groups * per;
        x += blockIdx.x * n;
        y += blockIdx.x * n;
        float mean, scale;
        ipl_moments(x, n, eps, mean, scale);
        for (long i = threadIdx.x; i < n; i += 256) {
            const long c = first + i / S;
            const float z = (x[i] - mean) * (scale * weight[c]) + bias[c];
            y[i] = silu ? ipl_silu(z) : z;
        }
        if (threadIdx.x == 0) stats[2 * blockIdx.x] = mean, stats[2 * blockIdx.x + 1] = scale;
    }
    """,
    cuda=_SIZES.replace("x_", "in0_") + """
    if (B * n) ipl_group_norm<<<(int)(B * groups), 256>>>(in0_p, in1_p, in2_p, out0_p, out1_p, groups, per, S,
                                                          (float)data["eps"], silu);
    """)
# Each sample's sums over a channel are kept in out3 and added in the order of the samples: no thread adds to another's.
BACKWARD = Kernel(
    shared=_SHARED,
    cpu=_SIZES.replace("x_", "in1_") + """
    #pragma omp parallel for
    for (long u = 0; u < B * groups; u++) {
        const float mean = in4_p[2 * u], scale = in4_p[2 * u + 1];
        const long first = u % groups * per;
        double sum = 0, dot = 0;
        for (long c = 0; c < per; c++) {
            const float* __restrict__ g = in0_p + u * n + c * S;
            const float* __restrict__ x = in1_p + u * n + c * S;
            float* __restrict__ dz = out0_p + u * n + c * S;
            const float w = in2_p[first + c], b = in3_p[first + c];
            if (silu) for (long i = 0; i < S; i++) dz[i] = g[i] * ipl_silu_grad((x[i] - mean) * (scale * w) + b);
            else for (long i = 0; i < S; i++) dz[i] = g[i];
            double dw = 0, db = 0;
            for (long start = 0; start < S; start += 1024) {
                const long end = std::min(S, start + 1024);
                float part_w = 0, part_b = 0;
                for (long i = start; i < end; i++) {
                    part_w += dz[i] * ((x[i] - mean) * scale);
                    part_b += dz[i];
                }
                dw += part_w;
                db += part_b;
            }
            out3_p[2 * (u * per + c)] = dw;
            out3_p[2 * (u * per + c) + 1] = db;
            sum += w * db;
            dot += w * dw;
        }
        const float mean_gw = sum / n, mean_gwz = dot / n;
        for (long c = 0; c < per; c++) {
            const float* __restrict__ x = in1_p + u * n + c * S;
            float* __restrict__ dx = out0_p + u * n + c * S;
            const float w = in2_p[first + c];
            for (long i = 0; i < S; i++)
                dx[i] = ipl_norm_grad(dx[i] * w, (x[i] - mean) * scale, mean_gw, mean_gwz, scale);
        }
    }
    for (long c = 0; c < C; c++) {
        double dw = 0, db = 0;
        for (long b = 0; b < B; b++) dw += out3_p[2 * (b * C + c)], db += out3_p[2 * (b * C + c) + 1];
        out1_p[c] = dw;
        out2_p[c] = db;
    }
    """,
    cuda_kernels="""
    static __global__ void ipl_group_norm_dx(const float* g, const float* x, const float* weight, const float* bias,
                                             const float* stats, float* dx, float* sums, long groups, long per, long S,
                                             bool silu) {
        const long n = per * S, start = blockIdx.x * n, first = blockIdx.x % groups * per;
        const float mean = stats[2 * blockIdx.x], scale = stats[2 * blockIdx.x + 1];
        float sum = 0, dot = 0;
        for (long c = 0; c < per; c++) {
            const float w = weight[first + c], b = bias[first + c];
            float dw = 0, db = 0;
            for (long i = start + c * S + threadIdx.x; i < start + (c + 1) * S; i += 256) {
                const float z = (x[i] - mean) * scale;
                const float dz = silu ? g[i] * ipl_silu_grad((x[i] - mean) * (scale * w) + b) : g[i];
                dx[i] = dz;
                dw += dz * z;
                db += dz;
            }
            dw = ipl_block(dw, false);
            db = ipl_block(db, false);
            if (threadIdx.x == 0) sums[2 * (blockIdx.x * per + c)] = dw, sums[2 * (blockIdx.x * per + c) + 1] = db;
            sum += w * db;
            dot += w * dw;
        }
        for (long c = 0; c < per; c++)
            for (long i = start + c * S + threadIdx.x; i < start + (c + 1) * S; i += 256)
                dx[i] = ipl_norm_grad(dx[i] * weight[first + c], (x[i] - mean) * scale, sum / n, dot / n, scale);
    }
    static __global__ void ipl_group_norm_dw(const float* sums, float* dw, float* db, long B, long C) {
        IPL_THREAD(c, C);
        float weight = 0, bias = 0;
        for (long b = 0; b < B; b++) weight += sums[2 * (b * C + c)], bias += sums[2 * (b * C + c) + 1];
        dw[c] = weight;
        db[c] = bias;
    }
    """,
    cuda=_SIZES.replace("x_", "in1_") + """
    if (B * n) ipl_group_norm_dx<<<(int)(B * groups), 256>>>(in0_p, in1_p, in2_p, in3_p, in4_p, out0_p, out3_p, groups,
                                                             per, S, silu);
    ipl_group_norm_dw<<<IPL_GRID(C)>>>(out3_p, out1_p, out2_p, B, C);
    """)


def group_norm(x: jt.Var, groups: int, weight: jt.Var, bias: jt.Var, eps: float = 1e-5, silu: bool = False) -> jt.Var:
    """Normalise `x` [B, C, ...] over each of `groups` channel groups; `weight` [C], `bias` [C] (Wu & He 2018).

    With `silu`, return `y * sigmoid(y)` of the result. Differentiable once; `norms.group_norm_reference` is its
    reference.
    """
    b, c = x.shape[:2]
    assert c % groups == 0, (c, groups)
    assert tuple(weight.shape) == tuple(bias.shape) == (c,), (x.shape, weight.shape, bias.shape)
    return _GroupNorm(groups, eps, silu)(x.reshape(b, c, -1), weight, bias).reshape(x.shape)


class _GroupNorm(jt.Function):
    def __init__(self, groups: int, eps: float, silu: bool):
        self.groups, self.eps, self.silu = groups, eps, silu

    def execute(self, x, weight, bias):
        y, stats = FORWARD([x.shape, [x.shape[0] * self.groups, 2]], [x, weight, bias], groups=self.groups,
                           eps=self.eps, silu=self.silu)
        self.saved = x, weight, bias, stats
        return y

    def grad(self, g):
        x, weight, _, _ = self.saved
        backward = OnceDifferentiable("group_norm", BACKWARD, x.shape, weight.shape, weight.shape,
                                      [x.shape[0] * x.shape[1], 2], groups=self.groups, silu=self.silu)
        return tuple(backward(g, *self.saved)[:3])

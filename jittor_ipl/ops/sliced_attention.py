"""Attention that never holds a whole matrix of scores: queries in slices, forward and backward.

The scores of 4096 tokens with themselves fill 671 MB for ten heads, and a gradient keeps several such matrices. Here a
slice of queries is scored, turned into weights and multiplied with the values in a buffer that stays in the cache; the
gradient computes the same slices again from the rows' maxima and sums. Logits and softmax are float32. A slice knows of
one sample and one head alone, so that neither the batch nor the number of threads moves a bit.
"""
from __future__ import annotations

from jittor_ipl.ops.bmm import CUBLAS, DNNL
from jittor_ipl.ops.exponential import EXP, PEAK
from jittor_ipl.ops.kernel import Kernel, OnceDifferentiable
from jittor_ipl.runtime.backend import jt, on_gpu

PART = 1024             # queries of a unit of the gradient; their sums are added in order, for any number of threads
CUDA_SCRATCH = 1 << 25  # numbers in the buffer of scores, all heads of a sample

# q, out [B, n, W], k, v [B, m, W], heads side by side; stats [B, heads, n, 2]: a row's maximum and 1 / sum;
# mask [n, m].
_SIZES = """
    const long B = q_shape0, n = q_shape1, W = q_shape2, m = k_shape1, heads = data["heads"], d = W / heads;
    const float scale = 1 / std::sqrt((float)d);
    const bool masked = data["masked"];
"""
_CPU_ROWS = "    const long R = 256, slices = (n + R - 1) / R;\n"
_FORWARD_NAMES = _SIZES.replace("q_", "in0_").replace("k_", "in1_")
_BACKWARD_NAMES = _SIZES.replace("q_", "in1_").replace("k_", "in2_")
_SHARED = EXP + """
IPL_BOTH float ipl_score_grad(float weight, float g, float dot, float scale) { return weight * (g - dot) * scale; }
"""
_CUDA_COMMON = CUBLAS + """
    // c = alpha a b + beta c of row-major matrices, one for each head; _t: transposed, _s: from head to head
    static void ipl_heads(bool at, bool bt, long n, long m, long k, float alpha, const float* a, long lda, long as,
                          const float* b, long ldb, long bs, float beta, float* c, long ldc, long cs, long heads) {
        ipl_accepted(cublasSgemmStridedBatched(ipl_cublas(), bt ? CUBLAS_OP_T : CUBLAS_OP_N,
                                               at ? CUBLAS_OP_T : CUBLAS_OP_N, m, n, k, &alpha, b, ldb, bs, a, lda, as,
                                               &beta, c, ldc, cs, heads));
    }
"""
FORWARD = Kernel(
    shared=_SHARED,
    cpu_extra=DNNL + PEAK,
    cpu=_FORWARD_NAMES + _CPU_ROWS + """
    #pragma omp parallel
    {
        std::vector<float> scores(R * m);
        #pragma omp for schedule(dynamic)
        for (long u = 0; u < B * heads * slices; u++) {
            const long b = u / (heads * slices), h = u / slices % heads, first = u % slices * R;
            const long rows = std::min(R, n - first), at = (b * n + first) * W + h * d, keys = b * m * W + h * d;
            dnnl_sgemm('N', 'T', rows, m, d, scale, in0_p + at, W, in1_p + keys, W, 0.f, scores.data(), m);
            for (long r = 0; r < rows; r++) {
                float* __restrict__ s = scores.data() + r * m;
                if (masked) for (long i = 0; i < m; i++) s[i] += in3_p[(first + r) * m + i];
                const float peak = ipl_peak(s, m);
                float total = 0;
                for (long i = 0; i < m; i++) total += s[i] = ipl_exp(s[i] - peak);
                float* stats = out1_p + 2 * ((b * heads + h) * n + first + r);
                stats[0] = peak, stats[1] = 1 / total;
            }
            dnnl_sgemm('N', 'N', rows, d, m, 1.f, scores.data(), m, in2_p + keys, W, 0.f, out0_p + at, W);
            for (long r = 0; r < rows; r++)
                for (long i = 0; i < d; i++)
                    out0_p[at + r * W + i] *= out1_p[2 * ((b * heads + h) * n + first + r) + 1];
        }
    }
    """,
    cuda_kernels=_CUDA_COMMON + """
    static __global__ void ipl_weights(float* s, const float* mask, float* stats, long rows, long first, long n,
                                       long m) {
        const long row = first + blockIdx.x % rows;
        s += blockIdx.x * m;
        stats += 2 * (blockIdx.x / rows * n + row);
        float peak = -INFINITY, total = 0;
        for (long i = threadIdx.x; i < m; i += 256) {
            if (mask) s[i] += mask[row * m + i];
            peak = fmaxf(peak, s[i]);
        }
        peak = ipl_block(peak, true);
        for (long i = threadIdx.x; i < m; i += 256) total += s[i] = ipl_exp(s[i] - peak);
        const float share = 1 / ipl_block(total, false);
        for (long i = threadIdx.x; i < m; i += 256) s[i] *= share;
        if (threadIdx.x == 0) stats[0] = peak, stats[1] = share;
    }
    """,
    cuda=_FORWARD_NAMES + """
    const long R = out2_shape1;
    for (long b = 0; b < B; b++)
        for (long first = 0; first < n; first += R) {
            const long rows = std::min(R, n - first), at = (b * n + first) * W, keys = b * m * W;
            ipl_heads(false, true, rows, m, d, scale, in0_p + at, W, d, in1_p + keys, W, d, 0.f, out2_p, m, rows * m,
                      heads);
            ipl_weights<<<(int)(heads * rows), 256>>>(out2_p, masked ? in3_p : nullptr, out1_p + 2 * b * heads * n,
                                                      rows, first, n, m);
            ipl_heads(false, false, rows, d, m, 1.f, out2_p, m, rows * m, in2_p + keys, W, d, 0.f, out0_p + at, W, d,
                      heads);
        }
    """)
# in0 is the gradient of out, in1 to in3 are q, k and v, in4 is out, in5 the stats, in6 the mask.
BACKWARD = Kernel(
    shared=_SHARED,
    cpu_extra=DNNL,
    cpu=_BACKWARD_NAMES + _CPU_ROWS + """
    const long P = data["part"], parts = (n + P - 1) / P, size = B * m * W;
    std::vector<float> more((parts - 1) * 2 * size);
    #pragma omp parallel
    {
        std::vector<float> weights(R * m), grads(R * m);
        #pragma omp for schedule(dynamic)
        for (long u = 0; u < B * heads * parts; u++) {
            const long part = u / (B * heads), b = u / heads % B, h = u % heads, keys = b * m * W + h * d;
            float* dk = (part ? more.data() + (part - 1) * 2 * size : out1_p) + keys;
            float* dv = (part ? more.data() + (part * 2 - 1) * size : out2_p) + keys;
            for (long first = part * P; first < std::min(n, (part + 1) * P); first += R) {
                const long rows = std::min(R, std::min(n, (part + 1) * P) - first), at = (b * n + first) * W + h * d;
                const float fresh = first == part * P ? 0.f : 1.f;
                dnnl_sgemm('N', 'T', rows, m, d, scale, in1_p + at, W, in2_p + keys, W, 0.f, weights.data(), m);
                dnnl_sgemm('N', 'T', rows, m, d, 1.f, in0_p + at, W, in3_p + keys, W, 0.f, grads.data(), m);
                for (long r = 0; r < rows; r++) {
                    float* __restrict__ s = weights.data() + r * m;
                    float* __restrict__ g = grads.data() + r * m;
                    const float* stats = in5_p + 2 * ((b * heads + h) * n + first + r);
                    const float peak = stats[0], share = stats[1];
                    if (masked) for (long i = 0; i < m; i++) s[i] += in6_p[(first + r) * m + i];
                    float dot = 0;
                    for (long i = 0; i < d; i++) dot += in0_p[at + r * W + i] * in4_p[at + r * W + i];
                    for (long i = 0; i < m; i++) {
                        s[i] = ipl_exp(s[i] - peak) * share;
                        g[i] = ipl_score_grad(s[i], g[i], dot, scale);
                    }
                }
                dnnl_sgemm('N', 'N', rows, d, m, 1.f, grads.data(), m, in2_p + keys, W, 0.f, out0_p + at, W);
                dnnl_sgemm('T', 'N', m, d, rows, 1.f, grads.data(), m, in1_p + at, W, fresh, dk, W);
                dnnl_sgemm('T', 'N', m, d, rows, 1.f, weights.data(), m, in0_p + at, W, fresh, dv, W);
            }
        }
        #pragma omp for
        for (long i = 0; i < size; i++)
            for (long part = 1; part < parts; part++) {
                out1_p[i] += more[(part - 1) * 2 * size + i];
                out2_p[i] += more[(part * 2 - 1) * size + i];
            }
    }
    """,
    cuda_kernels=_CUDA_COMMON + """
    static __global__ void ipl_score_grads(float* s, float* g, const float* mask, const float* stats, const float* go,
                                           const float* out, long rows, long first, long n, long m, long d, long W,
                                           float scale) {
        const long h = blockIdx.x / rows, row = first + blockIdx.x % rows, at = row * W + h * d;
        s += blockIdx.x * m;
        g += blockIdx.x * m;
        float dot = 0;
        for (long i = threadIdx.x; i < d; i += 256) dot += go[at + i] * out[at + i];
        dot = ipl_block(dot, false);
        const float peak = stats[2 * (h * n + row)], share = stats[2 * (h * n + row) + 1];
        for (long i = threadIdx.x; i < m; i += 256) {
            s[i] = ipl_exp(s[i] + (mask ? mask[row * m + i] : 0.f) - peak) * share;
            g[i] = ipl_score_grad(s[i], g[i], dot, scale);
        }
    }
    """,
    cuda=_BACKWARD_NAMES + """
    const long R = out3_shape1;
    for (long b = 0; b < B; b++)
        for (long first = 0; first < n; first += R) {
            const long rows = std::min(R, n - first), at = (b * n + first) * W, keys = b * m * W, one = rows * m;
            const float fresh = first ? 1.f : 0.f;
            ipl_heads(false, true, rows, m, d, scale, in1_p + at, W, d, in2_p + keys, W, d, 0.f, out3_p, m, one, heads);
            ipl_heads(false, true, rows, m, d, 1.f, in0_p + at, W, d, in3_p + keys, W, d, 0.f, out4_p, m, one, heads);
            ipl_score_grads<<<(int)(heads * rows), 256>>>(out3_p, out4_p, masked ? in6_p : nullptr,
                in5_p + 2 * b * heads * n, in0_p + b * n * W, in4_p + b * n * W, rows, first, n, m, d, W, scale);
            ipl_heads(false, false, rows, d, m, 1.f, out4_p, m, one, in2_p + keys, W, d, 0.f, out0_p + at, W, d, heads);
            ipl_heads(true, false, m, d, rows, 1.f, out4_p, m, one, in1_p + at, W, d, fresh, out1_p + keys, W, d,
                      heads);
            ipl_heads(true, false, m, d, rows, 1.f, out3_p, m, one, in0_p + at, W, d, fresh, out2_p + keys, W, d,
                      heads);
        }
    """)


class SlicedAttention(jt.Function):
    """`execute(q [B, n, W], k, v [B, m, W], mask [n, m] or [1, 1]) -> [B, n, W]`; `attention.attention` calls it."""

    def __init__(self, heads: int, masked: bool):
        self.numbers = {"heads": heads, "masked": masked}

    def execute(self, q, k, v, mask):
        b, n, _ = q.shape
        out, stats, _ = FORWARD([q.shape, [b, self.numbers["heads"], n, 2], self._scratch(n, k.shape[1])],
                                [q, k, v, mask], **self.numbers)
        self.saved = q, k, v, out, stats, mask
        return out

    def grad(self, g):
        q, k, v = self.saved[:3]
        scratch = self._scratch(q.shape[1], k.shape[1])
        backward = OnceDifferentiable("attention", BACKWARD, q.shape, k.shape, v.shape, scratch, scratch, part=PART,
                                      **self.numbers)
        return (*backward(g, *self.saved)[:3], None)

    def _scratch(self, n: int, m: int) -> list[int]:
        """Return the shape of the buffer of scores: all heads of a slice of queries on CUDA, none on the CPU."""
        heads = self.numbers["heads"]
        return [heads, max(1, min(n, CUDA_SCRATCH // (heads * m))), m] if on_gpu() else [1, 1, 1]

"""Matrix product whose rows do not know of each other, so that a seed's image does not depend on its batch.

oneDNN's sgemm chooses its blocking, and with it the order of the sums, by the number of rows: the same latent gives
another w alone than in a batch of sixteen. Here every output is one dot product in one fixed order.
"""
from __future__ import annotations

from jittor_ipl.ops.kernel import Kernel
from jittor_ipl.runtime.backend import jt

# 64 partial sums hide the latency of the adder. `noinline`: every output runs the same machine code.
_CPU_EXTRA = """
static __attribute__((noinline)) float ipl_dot(const float* __restrict__ a, const float* __restrict__ b, long n) {
    float lane[64] = {0}, sum = 0;
    const long whole = n / 64 * 64;
    for (long i = 0; i < whole; i += 64)
        for (int l = 0; l < 64; l++) lane[l] += a[i + l] * b[i + l];
    for (int half = 32; half; half /= 2)
        for (int l = 0; l < half; l++) lane[l] += lane[l + half];
    for (long i = whole; i < n; i++) sum += a[i] * b[i];
    return lane[0] + sum;
}
"""
DOTS = Kernel(
    cpu_extra=_CPU_EXTRA,
    cpu="""
    const long rows = in0_shape0, n = in0_shape1, columns = in1_shape0;
    #pragma omp parallel for if (rows * columns * n > 65536)
    for (long o = 0; o < columns; o++)
        for (long b = 0; b < rows; b++) out0_p[b * columns + o] = ipl_dot(in0_p + b * n, in1_p + o * n, n);
    """,
    cuda_kernels="""
    static __global__ void ipl_dots(const float* x, const float* w, float* y, long columns, long n) {
        const long b = blockIdx.x / columns, o = blockIdx.x % columns;
        float total = 0;
        for (long i = threadIdx.x; i < n; i += blockDim.x) total += x[b * n + i] * w[o * n + i];
        total = ipl_block(total, false);
        if (threadIdx.x == 0) y[b * columns + o] = total;
    }
    """,
    cuda="""
    const long blocks = (long)in0_shape0 * in1_shape0;
    if (blocks) ipl_dots<<<(unsigned)blocks, 256>>>(in0_p, in1_p, out0_p, in1_shape0, in0_shape1);
    """)


def linear(x: jt.Var, weight: jt.Var) -> jt.Var:
    """Return `x @ weight.T` [B, O]; `x` [B, I], `weight` [O, I]. A row's numbers are the same in every batch.

    Differentiable any number of times: the gradients are products of the same kind.
    """
    assert x.ndim == weight.ndim == 2 and x.shape[1] == weight.shape[1], (x.shape, weight.shape)
    product = _Linear()
    product.operands = x, weight
    return product(x, weight)


class _Linear(jt.Function):
    def execute(self, x, weight):
        return DOTS([(x.shape[0], weight.shape[0])], [x, weight])[0]

    def grad(self, g):
        x, weight = self.operands   # the Vars of the graph, not the copies `execute` sees: second derivatives need them
        dx = None if x.is_stop_grad() else linear(g, weight.transpose(1, 0))
        dw = None if weight.is_stop_grad() else linear(g.transpose(1, 0), x.transpose(1, 0))
        return dx, dw

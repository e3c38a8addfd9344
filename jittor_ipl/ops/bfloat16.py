"""Products whose operands are rounded to bfloat16 and whose sums are float32; everything between them stays float32.

That is what tensor cores do with bfloat16. The tensors themselves stay float32, so norms, softmax, activations and the
optimiser need no other form, and on the CPU the same numbers come from rounding before a float32 product. On a GPU
cuBLAS is told that it may use bfloat16; a convolution gets TF32's tensor cores, which multiply such operands exactly,
where the user allows them (docs/gpu.md).
"""
from __future__ import annotations

from jittor_ipl.ops import conv
from jittor_ipl.ops.bmm import product
from jittor_ipl.ops.kernel import Kernel
from jittor_ipl.runtime.backend import jt

# To the nearest of eight significant bits, a tie to the even one; NaN stays NaN, what is too large becomes infinite.
ROUND = Kernel(
    shared="""
    IPL_BOTH float ipl_bfloat16(float x) {
        union { float value; unsigned bits; } number;
        number.value = x;
        number.bits += 0x7fffu + (number.bits >> 16 & 1u);
        number.bits &= 0xffff0000u;
        return x != x ? x : number.value;
    }
    """,
    cpu="""
    #pragma omp parallel for
    for (long i = 0; i < (long)in0_shape0; i++) out0_p[i] = ipl_bfloat16(in0_p[i]);
    """,
    cuda_kernels="""
    static __global__ void ipl_round(const float* x, float* y, long n) {
        IPL_THREAD(i, n);
        y[i] = ipl_bfloat16(x[i]);
    }
    """,
    cuda="if (in0_shape0) ipl_round<<<IPL_GRID((long)in0_shape0)>>>(in0_p, out0_p, in0_shape0);")


def rounded(x: jt.Var) -> jt.Var:
    """Return `x`, any shape, rounded to bfloat16, as float32; the gradient passes as it is."""
    y = _Rounded()(x)
    return y.stop_grad() if x.is_stop_grad() else y


def conv2d(x: jt.Var, weight: jt.Var, stride: int = 1, padding: int | tuple[int, int] = 0) -> jt.Var:
    """`ops.conv.conv2d` of operands in bfloat16."""
    return _rounded_gradient(conv.conv2d(rounded(x), rounded(weight), stride, padding))


def conv_transpose2d(x: jt.Var, weight: jt.Var, stride: int = 1) -> jt.Var:
    """`ops.conv.conv_transpose2d` of operands in bfloat16."""
    return _rounded_gradient(conv.conv_transpose2d(rounded(x), rounded(weight), stride))


def matmul_transpose(x: jt.Var, weight: jt.Var) -> jt.Var:
    """Return `x @ weight.T` [..., O] of operands in bfloat16; `x` [..., I], `weight` [O, I]."""
    rows = rounded(x).reshape(1, -1, x.shape[-1])
    y = product(rows, rounded(weight).reshape(1, *weight.shape), False, True, bfloat16=True)
    return _rounded_gradient(y.reshape(*x.shape[:-1], weight.shape[0]))


def _rounded_gradient(y: jt.Var) -> jt.Var:
    """Return `y`; the gradient that comes back is an operand of products, too, and rounded."""
    return _RoundedGradient()(y)


class _Rounded(jt.Function):
    def execute(self, x):
        return ROUND([[x.numel()]], [x.reshape(-1)])[0].reshape(x.shape)

    def grad(self, g):
        return g


class _RoundedGradient(jt.Function):
    def execute(self, y):
        return y.clone()

    def grad(self, g):
        return rounded(g)

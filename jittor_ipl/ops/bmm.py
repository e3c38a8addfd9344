"""Batched matrix product through the device's own library: oneDNN on the CPU, cuBLAS on the GPU.

Jittor's product is about six times slower than the library for the small matrices of attention.
"""
from __future__ import annotations

from jittor_ipl.ops.kernel import Kernel
from jittor_ipl.runtime.backend import jt

# The library is already in the process: Jittor's convolutions come from it.
DNNL = """
extern "C" int dnnl_sgemm(char, char, long, long, long, float, const float*, long, const float*, long, float, float*,
                          long);
"""
CUBLAS = """
    #include <cublas_v2.h>
    #include <stdexcept>
    #include <string>
    // What cuBLAS refuses it does not write: the numbers would be those of earlier work.
    static void ipl_accepted(cublasStatus_t status) {
        if (status != CUBLAS_STATUS_SUCCESS)
            throw std::runtime_error("cuBLAS refuses with status " + std::to_string((int)status));
    }
    static cublasHandle_t ipl_cublas() {
        static cublasHandle_t handle = nullptr;
        if (!handle) ipl_accepted(cublasCreate(&handle));
        return handle;
    }
"""
_SIZES = """
    const bool ta = data["ta"], tb = data["tb"];
    const long n = out0_shape1, m = out0_shape2, k = ta ? in0_shape1 : in0_shape2;
    const long lda = in0_shape2, ldb = in1_shape2, batch = out0_shape0;
"""
PRODUCT = Kernel(
    cpu_extra=DNNL,
    cpu=_SIZES + """
    #pragma omp parallel for if (batch > 1)
    for (long b = 0; b < batch; b++)
        dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', n, m, k, 1.f, in0_p + b * n * k, lda, in1_p + b * k * m, ldb,
                   0.f, out0_p + b * n * m, m);
    """,
    cuda_kernels=CUBLAS,
    # cuBLAS counts by columns: it is asked for the transposed product b^T a^T of the same memory.
    cuda=_SIZES + """
    const float one = 1, zero = 0;
    if (batch * n * m) ipl_accepted(cublasGemmStridedBatchedEx(ipl_cublas(), tb ? CUBLAS_OP_T : CUBLAS_OP_N,
        ta ? CUBLAS_OP_T : CUBLAS_OP_N, m, n, k, &one, in1_p, CUDA_R_32F, ldb, k * m, in0_p, CUDA_R_32F, lda, n * k,
        &zero, out0_p, CUDA_R_32F, m, n * m, batch,
        data["bfloat16"] ? CUBLAS_COMPUTE_32F_FAST_16BF : CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
    """)


def bmm(a: jt.Var, b: jt.Var, transpose_b: bool = False) -> jt.Var:
    """Return `a @ b` per batch entry, [B, n, m]; `a` [B, n, k], `b` [B, k, m], or [B, m, k] with `transpose_b`.

    Differentiable any number of times.
    """
    assert a.ndim == b.ndim == 3 and a.shape[0] == b.shape[0], (a.shape, b.shape)
    assert a.shape[2] == b.shape[2 if transpose_b else 1], (a.shape, b.shape, transpose_b)
    return product(a, b, False, transpose_b)


def product(a: jt.Var, b: jt.Var, ta: bool, tb: bool, bfloat16: bool = False) -> jt.Var:
    """Return the product per batch entry of `a` [B, ., .] and `b` [B, ., .], each transposed or not.

    With `bfloat16` the numbers are such already (`ops.bfloat16`), which a GPU may use.
    """
    return _Product(a, b, ta, tb, bfloat16)(a, b)


class _Product(jt.Function):
    """The product and its gradient, again products.

    The operands are kept from outside: `execute` receives taped copies, and a gradient written with those would lose
    its own dependence on the operands without a word.
    """

    def __init__(self, a, b, ta, tb, bfloat16):
        constant = self.constant = a.is_stop_grad(), b.is_stop_grad()
        # Each is needed for the other's gradient alone.
        self.saved = None if constant[1] else a, None if constant[0] else b, ta, tb
        self.bfloat16 = bfloat16

    def execute(self, a, b):
        _, _, ta, tb = self.saved
        shape = (a.shape[0], a.shape[2 if ta else 1], b.shape[1 if tb else 2])
        return PRODUCT([shape], [a, b], ta=ta, tb=tb, bfloat16=self.bfloat16)[0]

    def grad(self, g):
        (a, b, ta, tb), same, da, db = self.saved, self.bfloat16, None, None
        if not self.constant[0]:
            da = product(b, g, tb, True, same) if ta else product(g, b, False, not tb, same)
        if not self.constant[1]:
            db = product(g, a, True, ta, same) if tb else product(a, g, not ta, False, same)
        return da, db

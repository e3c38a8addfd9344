"""Kernels in C++ for both kinds of device, compiled by Jittor when first used.

The arithmetic of an operator stands once in `Kernel.shared`; `cpu` and `cuda` only say how its loop is spread over
threads. Numbers travel in Jittor's `data` map and shapes in the Vars, so one compilation serves every size. Sources
name raw pointers and shapes (`in0_p`, `in0_shape1`, `out0_p`) and never contain text from outside this package.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jittor_ipl.runtime.backend import jt

CPU_PRELUDE = """
#include <cmath>
#include <vector>
#include <algorithm>
#define IPL_BOTH static inline
"""
CUDA_PRELUDE = """
#include <algorithm>
#include <cmath>
#define IPL_BOTH static __host__ __device__ inline
#define IPL_GRID(n) (int)(((n) + 255) / 256), 256
#define IPL_THREAD(i, n) const long i = blockIdx.x * (long)blockDim.x + threadIdx.x; if (i >= (n)) return

// The sum or the maximum over a block of 256 threads, given to all of them, always in the same order.
static __device__ inline float ipl_block(float value, bool maximum) {
    __shared__ float part[256];
    __syncthreads();
    part[threadIdx.x] = value;
    for (int half = 128; half; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
            const float other = part[threadIdx.x + half];
            part[threadIdx.x] = maximum ? fmaxf(part[threadIdx.x], other) : part[threadIdx.x] + other;
        }
    }
    __syncthreads();
    return part[0];
}
"""


@dataclass(frozen=True)
class Kernel:
    """Source of one operator on float32: a CPU loop, a CUDA kernel with its launch, and what both devices `shared`."""

    cpu: str
    cuda_kernels: str
    cuda: str
    shared: str = ""
    cpu_extra: str = ""

    def __call__(self, shapes: Sequence[Sequence[int]], inputs: Sequence[jt.Var], **numbers: float) -> list[jt.Var]:
        """Run the kernel: one float32 output per entry of `shapes`; `numbers` are read as `data["name"]`."""
        return jt.code([tuple(shape) for shape in shapes], ["float32"] * len(shapes), list(inputs),
                       cpu_header=CPU_PRELUDE + self.shared + self.cpu_extra, cpu_src=self.cpu,
                       cuda_header=CUDA_PRELUDE + self.shared + self.cuda_kernels, cuda_src=self.cuda,
                       data={name: float(value) for name, value in numbers.items()})


class OnceDifferentiable(jt.Function):
    """The `kernel` of an operator's gradient, which has none of its own: asking for one raises, in place of zeros.

    It is called as `kernel(shapes, inputs, **numbers)` and returns a list.
    """

    def __init__(self, operator: str, kernel: Kernel, /, *shapes: Sequence[int], **numbers: float) -> None:
        self.operator, self.kernel, self.shapes, self.numbers = operator, kernel, shapes, numbers

    def execute(self, *inputs: jt.Var) -> list[jt.Var]:
        return self.kernel(self.shapes, inputs, **self.numbers)

    def grad(self, *_: jt.Var) -> None:
        raise NotImplementedError(f"{self.operator} has no second derivative; use the *_reference operator")

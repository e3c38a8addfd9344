"""Turn a `Kernel` into a standalone .cu file: what Jittor makes of it, without Jittor's own headers.

Jittor declares for every input and output a pointer (`in0_p`), its shape (`in0_shape1`) and a map `data`, then pastes
the source. The same is done here with fixed ranks, so nvcc can check the CUDA side on a machine without a GPU.
"""
from __future__ import annotations

import re

from jittor_ipl.ops.kernel import CUDA_PRELUDE, Kernel

INTEGER_INPUTS = {"resize.GATHER": {"in2"}}
MAX_RANK = 4


def standalone(name: str, kernel: Kernel) -> str:
    """Return the text of a .cu file that defines and launches the CUDA kernels of `kernel`."""
    source = kernel.cuda
    variables = sorted(set(re.findall(r"\b((?:in|out)\d+)_(?:p|shape\d)", source)))
    assert "@" not in source + kernel.cuda_kernels, "Jittor's macros are not expanded here"
    arguments = ["std::unordered_map<std::string, double>& data"]
    for variable in variables:
        kind = "int" if variable in INTEGER_INPUTS.get(name, ()) else "float"
        arguments.append(f"{kind}* __restrict__ {variable}_p")
        arguments += [f"int {variable}_shape{axis}" for axis in range(MAX_RANK)]
    return "\n".join(["#include <string>", "#include <unordered_map>", CUDA_PRELUDE, kernel.shared, kernel.cuda_kernels,
                      f"void run({', '.join(arguments)}) {{", source, "}", ""])

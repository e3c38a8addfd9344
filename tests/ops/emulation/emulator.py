"""Compile the CUDA source of kernels for the CPU, once for all of them, and run them there (launch.h says how)."""
from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jittor_ipl.ops.kernel import CUDA_PRELUDE, Kernel
from tests.ops.cuda_source import MAX_RANK, identifier, in_namespace, kernel_type, variables_of

HERE = Path(__file__).parent
# Forwards, backwards and mixed, each with arrays that end, and that begin, at a page which may not be touched.
WAYS = 6
FLAGS = ["-O1", "-std=c++17", "-w", "-shared", "-fPIC", "-U_FORTIFY_SOURCE", "-fno-strict-aliasing",
         "-D__CUDA_ARCH__=900", f"-I{HERE}"]


class Array(ctypes.Structure):
    """launch.h's view of an array."""

    _fields_ = [("bytes", ctypes.c_void_p), ("size", ctypes.c_long), ("shape", ctypes.c_long * MAX_RANK),
                ("name", ctypes.c_char_p)]

    @classmethod
    def of(cls, array: np.ndarray, name: str) -> Array:
        assert array.flags.c_contiguous and array.ndim <= MAX_RANK
        shape = (ctypes.c_long * MAX_RANK)(*array.shape, *[-1] * (MAX_RANK - array.ndim))
        return cls(array.ctypes.data, array.nbytes, shape, name.encode())


class Emulator:
    """The CUDA side of `kernels`, name -> kernel, compiled into `folder`; `launched` names those that ran."""

    def __init__(self, kernels: Mapping[str, Kernel], folder: Path, compiler: str) -> None:
        self.names = {kernel: name for name, kernel in kernels.items()}
        self.launched: set[str] = set()
        source, library = folder / "kernels.cpp", folder / "kernels.so"
        parts = [_function(name, kernel) for name, kernel in kernels.items()]
        source.write_text("\n".join(['#include "launch.h"', '#include "cublas_v2.h"', *parts]))
        done = subprocess.run([compiler, *FLAGS, str(source), "-o", str(library)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:3000]
        self._library = ctypes.CDLL(str(library))

    def run(self, kernel: Kernel, shapes: Sequence[Sequence[int]], inputs: Sequence[np.ndarray], /,
            **numbers: float) -> list[np.ndarray]:
        """Return the float32 outputs of one call; AssertionError for whatever a kernel must not do."""
        name = self.names[kernel]
        self.launched.add(name)
        results = [self._once(name, shapes, inputs, numbers, way) for way in range(WAYS)]
        for way, result in enumerate(results):
            for number, (got, first) in enumerate(zip(result, results[0])):
                assert got.tobytes() == first.tobytes(), f"{name}: out{number} depends on the order of threads ({way})"
        return results[0]

    def _once(self, name: str, shapes: Sequence[Sequence[int]], inputs: Sequence[np.ndarray],
              numbers: Mapping[str, float], way: int) -> list[np.ndarray]:
        inputs = [np.ascontiguousarray(array) for array in inputs]
        outputs = [np.empty(tuple(shape), np.float32) for shape in shapes]
        arrays = [Array.of(array, f"in{n}") for n, array in enumerate(inputs)]
        arrays += [Array.of(array, f"out{n}") for n, array in enumerate(outputs)]
        function = getattr(self._library, f"run_{identifier(name)}")
        function.restype = ctypes.c_char_p
        keys = (ctypes.c_char_p * len(numbers))(*(key.encode() for key in numbers))
        values = (ctypes.c_double * len(numbers))(*map(float, numbers.values()))
        fault = function((Array * len(arrays))(*arrays), len(inputs), len(arrays), keys, values, len(numbers), way)
        assert fault is None, f"{name}: {fault.decode()}"
        return outputs


def _function(name: str, kernel: Kernel) -> str:
    """Return C++ that runs a kernel's CUDA side: its source as it stands, but for the three angle brackets."""
    functions, source = (re.sub(r"(\w+)<<<(.+?)>>>", r"emulation::launch(\1, \2)", part)
                         for part in (CUDA_PRELUDE + kernel.shared + kernel.cuda_kernels, kernel.cuda))
    variables = "\n".join(_declaration(kernel_type(name, variable), variable) for variable in variables_of(kernel))
    run = f"static void run(emulation::Data& data) {{\n{variables}\n{source}\n}}"
    return f"""{in_namespace(name, functions, run)}
extern "C" const char* run_{identifier(name)}(const emulation::Array* given, int inputs, int count, const char** keys,
                                              const double* values, int pairs, int way) {{
    return emulation::emulate({identifier(name)}::run, given, inputs, count, keys, values, pairs, way);
}}
"""


def _declaration(kind: str, variable: str) -> str:
    """Return what Jittor declares for "in0" or "out0": the pointer and the sizes of its axes."""
    group, index = re.fullmatch(r"(in|out)(\d+)", variable).groups()
    shape = f"emulation::{group}s[{index}]->array->shape"
    sizes = "".join(f"const int {variable}_shape{axis} = {shape}[{axis}]; " for axis in range(MAX_RANK))
    return f"{kind}* __restrict__ {variable}_p = ({kind}*)emulation::{group}s[{index}]->data; {sizes}"

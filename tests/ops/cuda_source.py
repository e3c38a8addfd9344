"""Turn kernels into one .cu file: what Jittor makes of each, without Jittor's own headers.

Jittor declares for every input and output a pointer (`in0_p`), its shape (`in0_shape1`) and a map `data`, then pastes
the source. The same is done here with fixed ranks, so nvcc can check the CUDA side on a machine without a GPU.
"""
from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path

import jittor_ipl
from jittor_ipl.ops.kernel import CUDA_PRELUDE, Kernel

INTEGER_INPUTS = {"resize.GATHER": {"in2"}}
MAX_RANK = 4
PACKAGE = Path(jittor_ipl.__file__).parent


def all_kernels() -> dict[str, Kernel]:
    """Return every kernel of the package by its name, "bias_act.FORWARD"."""
    texts = {path: path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}
    names = [path.relative_to(PACKAGE.parent).with_suffix("") for path, text in texts.items() if " = Kernel(" in text]
    modules = [importlib.import_module(".".join(name.parts)) for name in names]
    return {f"{module.__name__.rpartition('.')[2]}.{name}": value for module in modules
            for name, value in vars(module).items() if isinstance(value, Kernel)}


def variables_of(kernel: Kernel) -> list[str]:
    """Return the inputs and outputs that the CUDA source names: "in0", "out1"."""
    assert "@" not in kernel.cuda + kernel.cuda_kernels, "Jittor's macros are not expanded here"
    return sorted(set(re.findall(r"\b((?:in|out)\d+)_(?:p|shape\d)", kernel.cuda)))


def kernel_type(name: str, variable: str) -> str:
    """Return the C++ type of the numbers of an input or output of the kernel `name`."""
    return "int" if variable in INTEGER_INPUTS.get(name, ()) else "float"


def in_namespace(name: str, functions: str, run: str) -> str:
    """Return C++ with a kernel's functions and `run` in a namespace of its own, without #include, named in errors."""
    text = f'#line 1 "{name}"\n{functions}\n{run}'
    return f"namespace {identifier(name)} {{\n{re.sub(r'^ *#include.*$', '', text, flags=re.MULTILINE)}\n}}\n"


def identifier(name: str) -> str:
    """Return the C++ name of a kernel."""
    return name.replace(".", "_")


def one_file(kernels: Mapping[str, Kernel]) -> str:
    """Return the text of a .cu file that defines and launches the CUDA side of all these kernels."""
    parts = []
    for name, kernel in kernels.items():
        arguments = ["std::unordered_map<std::string, double>& data"]
        for variable in variables_of(kernel):
            arguments.append(f"{kernel_type(name, variable)}* __restrict__ {variable}_p")
            arguments += [f"int {variable}_shape{axis}" for axis in range(MAX_RANK)]
        parts.append(in_namespace(name, CUDA_PRELUDE + kernel.shared + kernel.cuda_kernels,
                                  f"void run({', '.join(arguments)}) {{\n{kernel.cuda}\n}}"))
    whole = [CUDA_PRELUDE, *(kernel.shared + kernel.cuda_kernels for kernel in kernels.values())]
    includes = dict.fromkeys(re.findall(r"^ *(#include .*)$", "\n".join(whole), re.MULTILINE))
    return "\n".join(["#include <string>", "#include <unordered_map>", *includes, *parts])

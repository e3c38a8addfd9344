"""The CUDA side of every kernel passes nvcc, where nvcc exists."""
from __future__ import annotations

import ast
import subprocess

import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.runtime import cuda
from tests.ops.cuda_source import PACKAGE, all_kernels, one_file

KERNELS = all_kernels()


def test_every_kernel_has_both_sides():
    for name, kernel in KERNELS.items():
        assert kernel.cpu.strip() and kernel.cuda.strip(), name


def test_no_kernel_is_hidden_from_these_tests():
    """Every `Kernel(...)` of the package is a name of a module, and `jt.code` is called by `Kernel` alone."""
    texts = {path: path.read_text() for path in PACKAGE.rglob("*.py")}
    calls = [(path.name, ast.unparse(node.func).rpartition(".")[2]) for path, text in texts.items()
             if "Kernel(" in text or "jt.code" in text for node in ast.walk(ast.parse(text))
             if isinstance(node, ast.Call)]
    assert len([name for _, name in calls if name == "Kernel"]) == len(KERNELS)
    assert [call for call in calls if call[1] == "code"] == [("kernel.py", "code")]


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_no_kernel_adds_in_an_order_of_chance_or_differentiates_by_itself(name):
    """Atomic sums come in any order; gradients are written in Python, so that the CPU and the GPU share them."""
    kernel = KERNELS[name]
    source = kernel.shared + kernel.cpu + kernel.cuda_kernels + kernel.cuda
    assert "atomic" not in source and "grad_src" not in source


@pytest.mark.parametrize("needs_cublas", [False, True])
def test_cuda_sides_compile(needs_cublas, tmp_path):
    try:
        kit = cuda.toolkit()
    except UserError as error:
        pytest.skip(str(error))
    folders = cuda.header_folders(kit)
    if needs_cublas and not any((folder / "cublas_v2.h").is_file() for folder in folders):
        pytest.skip("the headers of cuBLAS are not installed: pip install -r requirements-gpu.txt")
    chosen = {name: kernel for name, kernel in KERNELS.items() if ("cublas" in kernel.cuda_kernels) == needs_cublas}
    source = tmp_path / "kernels.cu"
    source.write_text(one_file(chosen))
    architecture = "sm_90" if kit.version >= (11, 8) else "sm_80"
    done = subprocess.run([str(kit.nvcc), "-c", f"-arch={architecture}", "-std=c++17", "-Werror", "all-warnings",
                           "--diag-suppress=177", *(f"-I{folder}" for folder in folders), str(source),
                           "-o", str(tmp_path / "kernels.o")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + done.stdout
    print(f"{len(chosen)} kernels")


def test_the_compiler_finds_a_fault(tmp_path):
    """A kernel whose CUDA side names what is not there fails, by its name."""
    try:
        kit = cuda.toolkit()
    except UserError as error:
        pytest.skip(str(error))
    name = "bias_act.FORWARD"
    source = tmp_path / "kernels.cu"
    source.write_text(one_file({name: KERNELS[name]}).replace("inner", "outer", 1))
    done = subprocess.run([str(kit.nvcc), "-c", "-arch=sm_80", str(source), "-o",
                           str(tmp_path / "kernels.o")], capture_output=True, text=True)
    assert done.returncode != 0 and name in done.stdout + done.stderr

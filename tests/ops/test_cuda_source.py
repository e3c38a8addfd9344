"""The CUDA side of every kernel passes nvcc for sm_90, where nvcc exists."""
from __future__ import annotations

import importlib
import pkgutil
import subprocess

import pytest

import jittor_ipl.ops
from jittor_ipl.ops.kernel import Kernel
from jittor_ipl.runtime import system
from tests.ops.cuda_source import standalone

NAMES = [found.name for found in pkgutil.iter_modules(jittor_ipl.ops.__path__)]
MODULES = [importlib.import_module(f"jittor_ipl.ops.{name}") for name in NAMES]
KERNELS = {f"{module.__name__.rpartition('.')[2]}.{name}": value for module in MODULES
           for name, value in vars(module).items() if isinstance(value, Kernel)}


def test_every_kernel_has_both_sides():
    assert len(KERNELS) >= 9
    for name, kernel in KERNELS.items():
        assert kernel.cpu.strip() and kernel.cuda.strip(), name


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_no_kernel_differentiates_by_itself(name):
    """Gradients are written in Python, so that the CPU and the GPU share them."""
    assert "grad_src" not in KERNELS[name].cpu + KERNELS[name].cuda


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_cuda_side_compiles(name, tmp_path):
    nvcc = system.nvcc()
    if nvcc is None:
        pytest.skip("nvcc is not installed")
    source = tmp_path / "kernel.cu"
    source.write_text(standalone(name, KERNELS[name]))
    command = [nvcc, "-c", "-arch=sm_90", "-std=c++17", str(source), "-o", str(tmp_path / "kernel.o")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "cublas_v2.h" in done.stderr and "No such file" in done.stderr:
        pytest.skip("the headers of cuBLAS are not installed")
    assert done.returncode == 0, done.stderr

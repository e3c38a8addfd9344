"""Memory: kept in the process when freed, and its lack told in one line."""
from __future__ import annotations

import contextlib
import ctypes
import math
import os
import re
import resource
from collections.abc import Iterator
from pathlib import Path

from jittor_ipl.errors import UserError

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3     # mallopt's parameters, malloc.h of glibc
# What our own allocator (repairs.h), oneDNN, C++, CUDA and NumPy say. Not "out of memory" alone: Jittor guesses it
# behind every compiler that a signal ended.
_LACK = re.compile("out of memory: [0-9]+ bytes|could not create a memory object|std::bad_alloc|Unable to allocate|"
                   "Cannot allocate memory|failed to map segment|cudaErrorMemoryAllocation|_STATUS_ALLOC_FAILED")
_OUTPUTS = re.compile(r"\[Output\]: (.*)")
_SHAPE = re.compile(r"[a-z]+(\d+)\[([\d,]+)\]")


def keep_freed_memory() -> bool:
    """Tell glibc to serve large buffers from the heap and not to give them back at once; False on other C libraries.

    By default every buffer over 32 MiB, and most over 128 KiB, is mapped and unmapped, and the kernel clears its pages
    each time: 20 % of a small network's training step (117 000 page faults a step against 0), and of four pictures of
    256 px. Older releases of glibc take no threshold over 32 MiB. Variables that the user set for the allocator
    (MALLOC_...) win.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or mallopt(_MMAP_THRESHOLD, 256 << 20) != 1 and mallopt(_MMAP_THRESHOLD, 32 << 20) != 1:
        return False
    return mallopt(_TRIM_THRESHOLD, 2**31 - 1) == 1 and mallopt(_TOP_PAD, 64 << 20) == 1


def give_back_freed_memory(jt) -> None:
    """Give the freed memory that Jittor `jt` and `keep_freed_memory` hold to the system, as after loading a network."""
    jt.gc()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextlib.contextmanager
def lack_as_user_error(making: str, lower: str) -> Iterator[None]:
    """Raise a lack of memory inside as `UserError` in one line: `making` what, what was missing, what to `lower`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        missing = lack_of_memory(error)
        if missing is None:
            raise
        raise UserError(f"out of memory while making {making}: {missing}; {lower}") from error


def lack_of_memory(error: BaseException) -> str | None:
    """Return what was missing, in words, when an error of Jittor's or NumPy's is a lack of memory; else None."""
    text = str(error)
    if not (_LACK.search(text) or isinstance(error, MemoryError)):
        return None
    limit, asked = resource.getrlimit(resource.RLIMIT_AS)[0], _asked_bytes(text)
    limited = limit != resource.RLIM_INFINITY
    pages = Path("/proc/self/statm").read_text().split()[0 if limited else 1]   # mapped, resident
    used = in_gib(int(pages) * resource.getpagesize())
    return (f"it needs {f'{in_gib(asked)} beside' if asked else 'more than'} the {used} in use"
            + (f", and ulimit -v allows {in_gib(limit)}" if limited else ""))


def _asked_bytes(text: str) -> int:
    """Return how many bytes the failed step asked for, or what its results take; 0 when the message tells neither."""
    if named := re.search(r"out of memory: (\d+) bytes", text):
        return int(named[1])
    if named := re.search(r"Unable to allocate ([\d.]+) ([KMGT])iB", text):
        return int(float(named[1]) * 1024 ** ("KMGT".index(named[2]) + 1))
    shapes = [shape for line in _OUTPUTS.findall(text) for shape in _SHAPE.findall(line)]
    return sum(int(bits) // 8 * math.prod(map(int, sides.strip(",").split(","))) for bits, sides in shapes)


def available_bytes() -> int:
    """Return how much memory this process can still get: what the system has to give, or `ulimit -v` leaves."""
    found = re.search(r"MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text())
    free = int(found[1]) << 10 if found else 1 << 62
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        free = min(free, limit - int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize())
    return max(free, 0)


def in_gib(count: int) -> str:
    """Return a number of bytes in GiB, or in MiB where it is less than one."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{max(1, round(count / 2**20))} MiB"

"""Keep freed memory in the process: a training step frees and takes the same large buffers again and again."""
from __future__ import annotations

import ctypes
import os

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4     # mallopt's parameters, malloc.h of glibc


def keep_freed_memory() -> bool:
    """Tell glibc to serve large buffers from the heap and not to give them back at once; False on other C libraries.

    By default every buffer over 32 MiB, and most over 128 KiB, is mapped and unmapped, and the kernel clears its pages
    each time: 20 % of a small network's training step (117 000 page faults a step against 0). Variables that the user
    set for the allocator (MALLOC_...) win.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(parameter, value) == 1 for parameter, value in
               ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 64 << 20)))

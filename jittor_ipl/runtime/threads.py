"""How many OpenMP threads there are, and what they do while they wait for one another."""
from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

# How often a waiting thread looks again before it sleeps; libgomp's own number is 300,000, about 3 ms. When another
# program holds the core of the thread that is waited for, all of that is lost at every barrier. Sleeping at once costs
# a third of the quiet speed: docs/performance.md.
SPINS = "7000"
USERS_CHOICE = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


@contextlib.contextmanager
def sleep_while_waiting() -> Iterator[None]:
    """Make the threads of an OpenMP library that is loaded inside sleep while they wait, unless the user set otherwise.

    libgomp reads its variables once, when it is loaded; nothing changes in a process that has loaded it before.
    """
    if any(name in os.environ for name in USERS_CHOICE):
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        yield
    finally:
        os.environ.pop("GOMP_SPINCOUNT", None)


def thread_count() -> int:
    """Return the number of OpenMP's threads: oneDNN sums a convolution's weight gradient in that many parts."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() else len(os.sched_getaffinity(0))

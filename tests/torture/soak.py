"""Train both stages of the demo suite for many steps and watch memory and the number of live Jittor variables.

The loop is the shipped one with everything on: samples, checkpoints, metrics, TensorBoard. After a warm-up, the bytes
that the process holds allocated must stay flat (their slope by least squares, and their largest value), the counts must
not grow at all, and resident memory may settle by a few percent: the allocator keeps freed pages, and touches new ones
when large buffers come to lie elsewhere.

    python -m tests.torture.soak --count 600
"""
from __future__ import annotations

import ctypes
import io
from argparse import Namespace
from pathlib import Path

import numpy as np

from jittor_ipl.adaptation import adapt
from jittor_ipl.config import load_suite
from tests.torture.common import ROOT, finish, fresh, parse

MOST_KIB_PER_STEP = 4.0      # of allocated memory; a leaked 64 px image of a batch would be 48 KiB a step
MOST_GROWTH_MIB = 4.0        # its largest value after the warm-up against the value at its end
MOST_SETTLING = 0.05         # of resident memory
POOL_KIB = 1024              # Jittor's pool takes this for any array below it (SMALL_BLOCK_SIZE of its sfrl_allocator)


def main(argv: list[str] | None = None) -> int:
    """Train, measure and print the figures."""
    arguments = parse(__doc__.splitlines()[0], 600, 60, argv)
    fresh(arguments.work)
    seen: dict[str, list[tuple[int, ...]]] = {"mapper": [], "generator": []}

    class Watched(adapt.Stage):
        def after_step(self, step, metrics, state):
            stop = super().after_step(step, metrics, state)
            seen[self.name].append((_resident_kib(), _allocated_kib(), *_live()))
            return stop
    adapt.Stage = Watched
    adapt.adapt_style(_run(arguments), arguments.work / "run", stream=io.StringIO())
    figures, passed = {"steps_of_each_stage": arguments.count}, True
    for stage, rows in seen.items():
        told, flat = _flat(np.asarray(rows, float), warm=arguments.count // 3)
        figures.update({f"{stage}_{key}": value for key, value in told.items()})
        passed &= flat and len(rows) == arguments.count
    return finish("soak", arguments, figures, passed, "flat memory and flat counts of live variables")


def _run(arguments: Namespace):
    count = arguments.count
    return load_suite(ROOT / "configs" / "demo_clip.yaml", [
        "method=ipl", f"mapper.steps={count}", f"generator.steps={count}", "mapper.batch=4", "generator.batch=2",
        f"run.sample_every={count // 10}", f"run.checkpoint_every={count // 10}", "run.samples=4",
        "run.log_every=1", "run.tensorboard=true"]).run_of("disney")


class _Mallinfo(ctypes.Structure):
    """struct mallinfo2 of glibc."""

    _fields_ = [(name, ctypes.c_size_t)
                for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks",
                                                     "uordblks", "fordblks", "keepcost")]


def _allocated_kib() -> int:
    """Return what the process holds allocated from the C library, Jittor's and NumPy's buffers among it."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo
    info = mallinfo2()
    return (info.uordblks + info.hblkhd) // 1024


def _resident_kib() -> int:
    """Return the process's own memory: without the pages of files, which the system drops and reads again as it
    likes.
    """
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["RssAnon"].split()[0]) + int(fields["VmSwap"].split()[0])


def _live() -> tuple[int, int, int]:
    from jittor_ipl.runtime.backend import jt
    counts = jt.liveness_info()
    return counts["lived_vars"], counts["lived_ops"], counts["hold_vars"]


def _flat(rows: np.ndarray, warm: int) -> tuple[dict[str, object], bool]:
    """Return the figures of [steps, (resident KiB, allocated KiB, vars, ops, held)] after the warm-up, and whether
    they are flat.
    """
    rows = rows[warm:]
    resident, allocated, counts = rows[:, 0], rows[:, 1], rows[:, 2:]
    slope = float(np.polyfit(np.arange(len(allocated)), _without_one_block(allocated), 1)[0])
    growth, settling = float(allocated.max() - allocated[0]) / 1024, float(resident.max() / resident[0] - 1)
    figures = {"allocated_MiB": round(float(allocated.max()) / 1024, 1),
               "allocated_slope_KiB_per_step": round(slope, 3),
               "allocated_growth_MiB": round(growth, 2), "resident_MiB": round(float(resident.max()) / 1024, 1),
               "resident_growth_percent": round(100 * settling, 2), "live_variables": _span(counts[:, 0]),
               "live_operations": _span(counts[:, 1]),
               "held_variables": _span(counts[:, 2])}
    return figures, slope <= MOST_KIB_PER_STEP and growth <= MOST_GROWTH_MIB and settling <= MOST_SETTLING \
        and bool((counts.max(0) == counts.min(0)).all())


def _without_one_block(allocated: np.ndarray) -> np.ndarray:
    """Return the series without one block of the pool, if one came.

    When holes run out depends on when Python collects what it no longer uses, so one block may come at any step, and
    alone it would be a slope of 25 KiB in 40 steps. A leak below a block goes through the pool too, but takes a second
    one; the counts of live variables, which must be constant, see it at once.
    """
    rises = np.diff(allocated)
    at = int(rises.argmax())
    if not POOL_KIB <= rises[at] < 2 * POOL_KIB:
        return allocated
    return np.concatenate([allocated[:at + 1], allocated[at + 1:] - POOL_KIB])


def _span(values: np.ndarray) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low} at every step" if low == high else f"{low} to {high}"


if __name__ == "__main__":
    raise SystemExit(main())

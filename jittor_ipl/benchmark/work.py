"""Do the cells that are not done, several processes side by side, until all are done or the time is over."""
from __future__ import annotations

import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import fmean

from jittor_ipl.benchmark.plan import Cell
from jittor_ipl.benchmark.remote import cells_done
from jittor_ipl.errors import UserError
from jittor_ipl.jobs.engine import Engine
from jittor_ipl.jobs.workers import Answer, answers


@dataclass
class Tally:
    """What became of the cells of one call."""

    already: int = 0
    done: int = 0
    failed: list[str] = field(default_factory=list)
    left: int = 0


def work(cells: Sequence[Cell], cache: str | Path, jobs: int = 1, minutes: float | None = None,
         tell: Callable[[str], None] | None = None, engine: Engine | None = None) -> Tally:
    """Do every cell whose record is missing, damaged or of other settings; start none after `minutes`.

    A cell that fails is told and left out; the others go on. With jobs > 1 every process has threads of its own, as
    OMP_NUM_THREADS says; an `engine` does the cells on other machines. SIGINT and SIGTERM end the work after saving;
    the next call goes on.
    """
    tell = tell or (lambda line: print(line, file=sys.stderr, flush=True))
    waiting, seconds = [cell for cell in cells if cell.record() is None], defaultdict(list)
    tally = Tally(already=len(cells) - len(waiting))
    tell(f"{tally.already} of {len(cells)} cells are done")
    deadline = None if minutes is None else time.monotonic() + 60 * minutes
    function, started_in_time = partial(_figures, str(cache)), _started_until(deadline, waiting)
    if engine is not None:
        stream = cells_done(engine, started_in_time, f"benchmark-{Path(cache).parent.name}")
    else:
        stream = _here(function, started_in_time) if jobs == 1 else answers(function, started_in_time, [{}] * jobs)
    for answer in stream:
        cell = answer.request
        if answer.error is not None:
            tally.failed.append(f"{cell.label}: {_reason(answer.error)}")
            tell(f"failed: {tally.failed[-1]}")
            continue
        tally.done += 1
        seconds[cell.method].append(answer.seconds)
        tell(f"[{tally.already + tally.done}/{len(cells)}] {cell.label}: {_brief(answer.value)}, "
             f"{answer.seconds:.0f} s; {_left(seconds, waiting, jobs)}")
    tally.left = len(waiting)
    return tally


def _started_until(deadline: float | None, waiting: list[Cell]) -> Iterator[Cell]:
    """Take cells off the list until it is empty or the time is over."""
    while waiting and (deadline is None or time.monotonic() < deadline):
        yield waiting.pop(0)


def _here(function: Callable[[Cell], dict[str, float]], cells: Iterator[Cell]) -> Iterator[Answer]:
    for number, cell in enumerate(cells):
        started = time.monotonic()
        try:
            value, error = function(cell), None
        except Exception as problem:    # told by `_reason`
            value, error = None, problem
        yield Answer(number, cell, value, error, time.monotonic() - started)


def _figures(cache: str, cell: Cell) -> dict[str, float]:
    from jittor_ipl.benchmark.cell import run_cell  # imports Jittor
    return run_cell(cell, cache)["figures"]


def _reason(error: Exception) -> str:
    """Return in one line why a cell failed; a fault of ours is shown whole, and the others go on."""
    if isinstance(error, UserError):
        return str(error)
    traceback.print_exception(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _brief(figures: dict[str, float]) -> str:
    parts = [f"{name} {100 * figures[name]:.0f} %" for name in ("way", "shape", "judge", "kept") if name in figures]
    if "frechet_inception_distance" in figures:
        parts.append(f"FID {figures['frechet_inception_distance']:.3g}")
    parts.append(f"diversity {figures['intra_cluster_lpips']:.3g}")
    return ", ".join(parts)


def _left(seconds: Mapping[str, list[float]], waiting: Sequence[Cell], jobs: int) -> str:
    """Say how long the waiting cells will take, each as long as its method took, or as all that are done did."""
    if not waiting:
        return "the last one"
    usual = fmean(chain.from_iterable(seconds.values()))
    left = sum(fmean(seconds.get(cell.method, [usual])) for cell in waiting) / jobs
    return f"about {left / 3600:.1f} h left" if left >= 5400 else f"about {max(1, round(left / 60))} min left"

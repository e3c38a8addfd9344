"""Do the cells that are not done, several processes side by side, until all are done or the time is over."""
from __future__ import annotations

import multiprocessing
import signal
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from jittor_ipl.benchmark.plan import Cell
from jittor_ipl.errors import UserError

Tell = Callable[[str], None]


@dataclass
class Tally:
    """What became of the cells of one call."""

    already: int = 0
    done: int = 0
    failed: list[str] = field(default_factory=list)
    left: int = 0


@dataclass
class Clock:
    """How long cells take, by method."""

    jobs: int
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def left(self, cells: Sequence[Cell]) -> float | None:
        """Return the seconds that these cells will take, None before anything is known."""
        every = [value for values in self.seconds.values() for value in values]
        if not every:
            return None
        usual = sum(every) / len(every)
        return sum(sum(known) / len(known) if (known := self.seconds.get(cell.method)) else usual for cell in cells) / self.jobs


def work(cells: Sequence[Cell], cache: str | Path, jobs: int = 1, minutes: float | None = None, tell: Tell | None = None) -> Tally:
    """Do every cell whose record is missing, damaged or of other settings; start none after `minutes`.

    A cell that fails is told and left out; the others go on. With jobs > 1 every process has threads of its own, as
    OMP_NUM_THREADS says. SIGINT and SIGTERM end the work after saving; the next call goes on.
    """
    tell = tell or (lambda line: print(line, file=sys.stderr, flush=True))
    waiting = [cell for cell in cells if cell.record() is None]
    tally = Tally(already=len(cells) - len(waiting))
    deadline = time.monotonic() + 60 * minutes if minutes is not None else None
    clock = Clock(jobs)
    tell(f"{tally.already} of {len(cells)} cells are done")
    take = _Taker(waiting, deadline)
    for cell, outcome, seconds in (_here(take, cache) if jobs == 1 else _side_by_side(take, cache, jobs)):
        if isinstance(outcome, str):
            tally.failed.append(f"{cell.label}: {outcome}")
            tell(f"failed: {tally.failed[-1]}")
            continue
        tally.done += 1
        clock.seconds[cell.method].append(seconds)
        tell(f"[{tally.already + tally.done}/{len(cells)}] {cell.label}: {_brief(outcome)}, {seconds:.0f} s; {_left(clock, take.waiting)}")
    tally.left = len(take.waiting)
    return tally


class _Taker:
    """Hands out cells until there are none or the time is over."""

    def __init__(self, cells: Sequence[Cell], deadline: float | None) -> None:
        self.waiting, self.deadline = list(cells), deadline

    def __call__(self) -> Cell | None:
        late = self.deadline is not None and time.monotonic() >= self.deadline
        return self.waiting.pop(0) if self.waiting and not late else None


def _here(take: _Taker, cache: str | Path) -> Iterator[tuple[Cell, Any, float]]:
    from jittor_ipl.benchmark.cell import Bench
    bench = Bench(cache)
    while (cell := take()) is not None:
        started = time.monotonic()
        yield cell, _outcome(bench, cell), time.monotonic() - started


def _outcome(bench, cell: Cell) -> dict[str, float] | str:
    """Return the cell's figures, or in one line why there are none; a fault of ours is shown whole, and the others go on."""
    try:
        return bench.do(cell)["figures"]
    except UserError as error:
        return str(error)
    except Exception as error:
        traceback.print_exc()
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _side_by_side(take: _Taker, cache: str | Path, jobs: int) -> Iterator[tuple[Cell, Any, float]]:
    """Spawned, not forked: Jittor's threads would not survive a fork."""
    context = multiprocessing.get_context("spawn")
    processes, busy = [], {}

    def start() -> None:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, str(cache)))
        process.start()
        theirs.close()                  # so that the end of the process is the end of the pipe
        processes.append((process, ours))
        _hand_over(ours, take, busy)

    with _terminated_as_interrupted():
        try:
            for _ in range(min(jobs, len(take.waiting))):
                start()
            while busy:
                for connection in wait(list(busy)):
                    cell, started = busy.pop(connection)
                    try:
                        outcome = connection.recv()
                    except EOFError:
                        yield cell, "its process ended before it was done (out of memory?)", time.monotonic() - started
                        if take.waiting:
                            start()
                        continue
                    yield cell, outcome, time.monotonic() - started
                    _hand_over(connection, take, busy)
        except BaseException:
            for process, _ in processes:
                process.terminate()     # training saves first
            raise
        finally:
            for process, connection in processes:
                connection.close()
                process.join()


def _hand_over(connection: Connection, take: _Taker, busy: dict) -> None:
    cell = take()
    if cell is not None:
        connection.send(cell)
        busy[connection] = cell, time.monotonic()


def _serve(connection: Connection, cache: str) -> None:
    """A process of its own: cells in, outcomes out, until the pipe ends."""
    try:
        from jittor_ipl.benchmark.cell import Bench
        bench = Bench(cache)
        while True:
            connection.send(_outcome(bench, connection.recv()))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    def interrupt(number: int, _: Any) -> None:
        raise SystemExit(128 + number)
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _brief(figures: dict[str, float]) -> str:
    parts = [f"{name} {100 * figures[name]:.0f} %" for name in ("judge", "structure", "kept") if name in figures]
    if "frechet_inception_distance" in figures:
        parts.append(f"FID {figures['frechet_inception_distance']:.3g}")
    parts.append(f"diversity {figures['intra_cluster_lpips']:.3g}")
    return ", ".join(parts)


def _left(clock: Clock, waiting: Sequence[Cell]) -> str:
    seconds = clock.left(waiting)
    if not waiting:
        return "the last one"
    return f"about {seconds / 3600:.1f} h left" if seconds >= 5400 else f"about {max(1, round(seconds / 60))} min left"

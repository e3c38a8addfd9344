"""One training loop in a folder: it goes on after its newest whole checkpoint, logs, saves, and stops when asked to."""
from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TextIO

from jittor_ipl.config.sections import Run
from jittor_ipl.disk.atomic import remove_tree
from jittor_ipl.disk.integrity import read_sealed, write_sealed
from jittor_ipl.disk.layout import (
    CHECKPOINTS,
    FEATURE,
    FEW_SHOT,
    GENERATOR,
    LORA,
    MAPPER,
    MEAN,
    METRICS,
    PAIRS,
    REPORT,
    SAMPLES,
    SHOWN,
    TENSORBOARD,
)
from jittor_ipl.errors import UserError
from jittor_ipl.jobs.signals import StopOnSignal
from jittor_ipl.runtime.threads import thread_count
from jittor_ipl.train.checkpoint import Checkpoint, Checkpoints
from jittor_ipl.train.log import RunLog
from jittor_ipl.train.state import Loop, State

# Called after every step with the stage's name, the steps done, all steps, and the step's numbers; what it raises ends
# the stage without saving.
Watch = Callable[[str, int, int, Mapping[str, float]], object]
_MARK = ".identity"      # in a run's folder: the hash of all that decides the run


class Stage(Loop):
    """A `Loop` with checkpoints in `folder/checkpoints/<name>/`, records in `folder/metrics.jsonl`, and a clock.

    Only checkpoints of the same `identity` and of at most `total` steps count. settings: how often to log, show and
    save. title: stands before what a person reads. advice: what helps when the loss is not finite. stop: looked at
    after every step; when a signal came the step is saved and the loop ends. show: called with (step, state) every
    `settings.sample_every` steps. watch: see `Watch`. renamed: names that arrays of the state had in older checkpoints
    -> names of today.
    """

    def __init__(self, folder: Path, name: str, total: int, settings: Run, *, identity: str | None = None,
                 title: str = "", advice: str = "lower the learning rate", stop: StopOnSignal | None = None,
                 show: Callable[[int, State], None] | None = None, renamed: Mapping[str, str] | None = None,
                 checkpoints: Path | None = None, stream: TextIO | None = None, watch: Watch | None = None):
        self.folder, self.name, self.total, self.settings, self.identity = folder, name, total, settings, identity
        self.title, self.advice, self.stop, self.show, self.stream = title, advice, stop, show, stream or sys.stderr
        self.watch = watch
        self.checkpoints = Checkpoints(checkpoints or folder / CHECKPOINTS / name, settings.keep)
        self.checkpoints.clean()
        latest = self.checkpoints.latest(self._fits, self._print)
        state = None
        if latest:
            state = {(renamed or {}).get(key, key): array for key, array in latest.tensors("state").items()}
            before, now = latest.state().get("threads", "another number of"), thread_count()
            if before != now:
                self._print(f"{latest.path}: made with {before} threads, now there are {now}: the weights will differ "
                            "in their last bits (set OMP_NUM_THREADS for equal ones)")
        super().__init__(latest.step if latest else 0, state, self.after_step)
        self._seconds_before = latest.state().get("seconds", 0.0) if latest else 0.0
        self._began = time.monotonic()

    def __enter__(self) -> Stage:
        self.log = RunLog(self.folder, self.name, self.total, self.start, self.settings.log_every,
                          self.settings.tensorboard, self.stream, title=f"{self.title} {self.name}".strip())
        return self

    def __exit__(self, *_: object) -> None:
        self.log.close()

    def seconds(self) -> float:
        """Return the time spent in this stage so far, over all sittings."""
        return self._seconds_before + time.monotonic() - self._began

    def after_step(self, step: int, metrics: Mapping[str, float], state: Callable[[], State]) -> bool:
        """Log, show and save as the settings ask; return True when the run was asked to stop."""
        if not math.isfinite(metrics["loss"]):
            raise UserError(f"{self.title}: the loss of the {self.name} is not finite at step {step}: {self.advice}")
        self.log.step(step, metrics)
        settings, last = self.settings, step == self.total
        stopping = self.stop is not None and self.stop.received is not None
        showing = self.show is not None and (last or step % settings.sample_every == 0)
        saving = stopping or last or step % settings.checkpoint_every == 0
        now = state() if showing or saving else {}
        if showing:
            self.show(step, now)
        if self.watch is not None:
            self.watch(self.name, step, self.total, metrics)
        if saving:
            self.log.sync()
            facts = {"identity": self.identity, "seconds": self.seconds(), "threads": thread_count()}
            self.checkpoints.save(step, {"state": now}, facts)
        return stopping

    def _fits(self, checkpoint: Checkpoint) -> bool:
        return checkpoint.step <= self.total and checkpoint.state().get("identity") == self.identity

    def _print(self, line: str) -> None:
        print(line, file=self.stream, flush=True)


def claim(run_dir: Path, identity: str, anew: bool = False, stream: TextIO | None = None) -> bool:
    """Mark a run folder as this run's; what another run (other settings or weights) made there is removed first.

    `anew` removes what this run made, too. Returns whether something was removed, and says so on `stream` (stderr).
    Only the holder of the folder's lock may call this.
    """
    try:
        known = read_sealed(run_dir / _MARK, "mark")["identity"]
    except (UserError, KeyError):      # no whole mark costs nothing: the checkpoints and the report carry it, too
        known = None
    made = (REPORT, GENERATOR, MAPPER, LORA, FEATURE, MEAN, SHOWN, FEW_SHOT, METRICS, CHECKPOINTS, TENSORBOARD,
            SAMPLES)
    foreign = (anew or known not in (None, identity)) and any((run_dir / name).exists() for name in made)
    if foreign:
        why = "as asked" if anew else "its settings or the files it reads have changed"
        print(f"{run_dir.name} begins anew, {why}: the run that {run_dir} held is removed",
              file=stream or sys.stderr, flush=True)
        for name in (*made, *([PAIRS] if anew else [])):       # pairs know by themselves what they were made with
            remove_tree(run_dir / name)
    write_sealed(run_dir / _MARK, {"identity": identity})
    return foreign

"""What a run says while it works: a progress bar or plain lines, `metrics.jsonl`, and TensorBoard events."""
from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from jittor_ipl.disk.atomic import as_user_error, make_folder, write_bytes
from jittor_ipl.disk.layout import METRICS, TENSORBOARD


class RunLog:
    """The log of one stage of a run.

    On a terminal a bar shows loss, rate, steps per second and the time left; elsewhere one line is printed every
    `every` steps. Every `every` steps, and at the last, one JSON object goes to `folder/metrics.jsonl` and one event to
    `folder/tensorboard/<stage>/`. Records of this stage beyond `start` (a run that went on after its last checkpoint)
    are removed, so that no step is told twice. `title` stands before what a person reads (the stage when not given).
    """

    def __init__(self, folder: str | Path, stage: str, total: int, start: int = 0, every: int = 10,
                 tensorboard: bool = True, stream: TextIO | None = None, title: str | None = None):
        self.folder, self.stage, self.total, self.every = make_folder(folder), stage, total, every
        self.stream, self.title = sys.stderr if stream is None else stream, title or stage
        self._began, self._start = time.monotonic(), start
        drop_records(self.folder / METRICS, stage, start)
        with as_user_error(self.folder):
            self._file = open(self.folder / METRICS, "a", encoding="utf-8")
        self._events = _open_events(self.folder / TENSORBOARD / stage, start) if tensorboard else None
        self._bar = tqdm(total=total, initial=start, desc=self.title, file=self.stream, dynamic_ncols=True,
                         disable=not self.stream.isatty(), unit="it")

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Note that `step` steps are done (1 is the first) with these numbers (`loss`, `lr`, ...)."""
        self._bar.update(step - self._bar.n)
        if step % self.every and step != self.total:
            return
        seconds, names = time.monotonic() - self._began, [name for name in ("loss", "lr") if name in metrics]
        self._bar.set_postfix({name: f"{metrics[name]:.3g}" for name in names})
        # JSON has no NaN: null keeps the line readable for every program.
        numbers = {name: float(value) if math.isfinite(value) else None for name, value in metrics.items()}
        record = {"stage": self.stage, "step": step, "seconds": round(seconds, 3), **numbers}
        with as_user_error(self.folder / METRICS):
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        if self._events is not None:
            with as_user_error(self.folder / TENSORBOARD):
                for name, value in metrics.items():
                    self._events.add_scalar(name, value, step)
        if self._bar.disable:
            rate = (step - self._start) / max(seconds, 1e-9)
            shown = " ".join(f"{name} {metrics[name]:.4g}" for name in names)
            print(f"{self.title} {step}/{self.total} {shown} {rate:.2f} it/s {(self.total - step) / rate:.0f} s left",
                  file=self.stream, flush=True)

    def sync(self) -> None:
        """Flush the records to disk: called before a checkpoint, which promises that all before it was told."""
        with as_user_error(self.folder / METRICS):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the files and the bar."""
        self._bar.close()
        self._file.close()
        if self._events is not None:
            with as_user_error(self.folder / TENSORBOARD):
                self._events.close()


def drop_records(path: Path, stage: str, start: int) -> None:
    """Remove from a `metrics.jsonl` the records of `stage` after step `start`, and a last line that was cut off."""
    if not path.exists():
        return
    with as_user_error(path, "read"):
        text = path.read_text(encoding="utf-8", errors="replace")
    remaining = ""
    for line in text.split("\n"):
        with suppress(ValueError, KeyError, TypeError):        # no whole record
            record = json.loads(line)
            if record["stage"] != stage or record["step"] <= start:
                remaining += f"{line}\n"
    if remaining != text:
        write_bytes(path, remaining.encode())


def _open_events(folder: Path, start: int):
    from tensorboardX import SummaryWriter  # half a second: only for those who want it
    with as_user_error(folder):
        # TensorBoard hides events of earlier sessions from this step on.
        return SummaryWriter(str(folder), purge_step=start + 1 if start else None)

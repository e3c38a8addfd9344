"""How work tells the page how far it is, and learns that nobody waits for it any more."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jittor_ipl.jobs.workers import Progress
from jittor_ipl.webui.task import Note


class Cancelled(Exception):
    """The job was cancelled; nothing of it is to be kept."""


class Reporter:
    """Called between steps: sends a `Note`, and raises `Cancelled` when the job was."""

    def __init__(self, progress: Progress):
        self._progress = progress

    def __call__(self, stage: str, done: int = 0, of: int = 0, fraction: float | None = None, *,
                 pictures: Sequence[dict[str, Any]] = (), loss: Sequence[tuple[int, float]] = ()) -> None:
        """Tell how far the work is; `fraction` is by default done / of."""
        fraction = done / of if fraction is None and of else fraction or 0.0
        self._progress(Note(stage, done, of, min(1.0, max(0.0, fraction)), tuple(pictures), tuple(loss)))
        if self._progress.cancelled:
            raise Cancelled

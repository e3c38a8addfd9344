"""What a worker does with a task: the function behind its kind."""
from __future__ import annotations

from jittor_ipl.jobs.workers import Progress
from jittor_ipl.webui.task import JobResult, Task
from jittor_ipl.webui.work.report import Cancelled, Reporter


class Service:
    """Answers tasks, one after the other, and keeps the models it needed. Jittor is imported with the first task."""

    def __init__(self, keep: int):
        self.keep, self._models = keep, None

    def __call__(self, task: Task | None, progress: Progress) -> JobResult | None:
        """Return the outcome of a task, None when it was cancelled; the task None only loads what all need."""
        from jittor_ipl.webui.work import kinds
        from jittor_ipl.webui.work.models import Models
        if self._models is None:
            self._models = Models(self.keep)
        if task is None:
            kinds.warm(self._models)
            return None
        try:
            return kinds.WORK[task.request.kind](task, self._models, Reporter(progress))
        except Cancelled:
            return None

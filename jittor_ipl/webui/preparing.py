"""From a request to a task: everything that it names is found, so that mistakes are told before anything waits."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jittor_ipl.errors import UserError
from jittor_ipl.webui.catalogue import Choices
from jittor_ipl.webui.jobs import Job
from jittor_ipl.webui.requests import GenerateRequest, Request
from jittor_ipl.webui.settings import ServerSettings
from jittor_ipl.webui.task import Task


def prepare(request: Request, folder: Path, choices: Choices, settings: ServerSettings,
            upload: Callable[[str], Path], job: Callable[[str], Job]) -> Task:
    """Return the task of a request; `upload` and `job` find an owner's own. UserError for what is not there."""
    subject = choices.subject(request.subject)
    task = Task(request, folder, subject)
    if isinstance(request, GenerateRequest):
        return _with(task, styles=[choices.style(subject.id, name) for name in request.styles])
    raise UserError(f"jobs of the kind {request.kind} are not done here yet")


def _with(task: Task, **changes: object) -> Task:
    from dataclasses import replace
    return replace(task, **{name: tuple(value) if isinstance(value, list) else value
                            for name, value in changes.items()})

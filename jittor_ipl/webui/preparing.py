"""From a request to a task: everything that it names is found, so that mistakes are told before anything waits."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from jittor_ipl.webui.catalogue import Choices, Domain, StyleChoice, finds_faces
from jittor_ipl.webui.jobs import Job
from jittor_ipl.webui.learning_plans import folder_kept, plan_pictures, plan_words
from jittor_ipl.webui.page_error import PageError, near
from jittor_ipl.webui.pages.words import plural
from jittor_ipl.webui.requests import (
    REDRAWN,
    AlignRequest,
    CompareRequest,
    EditRequest,
    GenerateRequest,
    InvertRequest,
    LearnRequest,
    PicturesRequest,
    Request,
    ScoreRequest,
)
from jittor_ipl.webui.results import find_results
from jittor_ipl.webui.settings import ServerSettings
from jittor_ipl.webui.task import CODES, FACE, RESULTS, RUNS, UPLOAD, Task


@dataclass(frozen=True)
class Finder:
    """What requests may name: the server's choices, and an owner's uploads and jobs, found by functions."""

    choices: Choices
    settings: ServerSettings
    upload: Callable[[str], Path]
    job: Callable[[str], Job]

    def prepare(self, request: Request, folder: Path) -> Task:
        """Return the task of a request, whose files go to `folder`; UserError for what is not there."""
        subject = self.choices.subject(request.subject)
        return _PREPARE[type(request)](self, request, Task(request, folder, subject))

    def styles(self, subject: Domain, names: tuple[str, ...]) -> tuple[StyleChoice, ...]:
        """Return the styles of these ids or names."""
        return tuple(self.choices.style(subject.id, name) for name in names)


def _generate(find: Finder, request: GenerateRequest, task: Task) -> Task:
    return replace(task, styles=find.styles(task.subject, request.styles))


def _compare(find: Finder, request: CompareRequest, task: Task) -> Task:
    """Of the methods that made a style those that are named, all when none is; they stay in the request's order."""
    there = {one.set: one for one in find.choices.methods(task.subject.id, request.style)}
    redraws = [REDRAWN] if task.subject.redraws else []
    known = [*there, *redraws]
    for name in request.methods:
        if name not in known:
            raise PageError("error.no_method", name=name, style=request.style, near=near(name, known),
                            names=", ".join(known))
    wanted = request.methods or tuple(known)
    return replace(task, request=request.model_copy(update={"methods": wanted}),
                   styles=tuple(there[name] for name in wanted if name in there))


def _photograph(find: Finder, request: AlignRequest | InvertRequest, task: Task) -> Task:
    looks = isinstance(request, AlignRequest) or request.align == "always"
    if looks and request.eyes is None and not finds_faces():
        raise PageError("error.no_detector")
    task = replace(task, files={UPLOAD: find.upload(request.upload)})
    if isinstance(request, AlignRequest):
        return task
    if task.subject.encoder is None:
        raise PageError("error.no_encoder", subject=plural(task.subject.id))
    return replace(task, styles=find.styles(task.subject, request.styles))


def _edit(find: Finder, request: EditRequest, task: Task) -> Task:
    styles = find.styles(task.subject, () if request.style is None else (request.style,))
    if request.face is None:
        return replace(task, styles=styles)
    job = find.job(request.face)
    codes = job.folder / CODES
    if job.kind != "invert" or job.state != "done" or not codes.is_file():
        raise PageError("error.no_inversion", job=request.face)
    return replace(task, styles=styles, files={FACE: codes})


def _learn(find: Finder, request: LearnRequest, task: Task) -> Task:
    config = plan_words(request, task.subject, find.settings.styles)
    return replace(task, config=config, kept_as=folder_kept(config, find.settings.styles))


def _learn_pictures(find: Finder, request: PicturesRequest, task: Task) -> Task:
    files = {upload: find.upload(upload) for upload in request.uploads}
    if len(files) < len(request.uploads):
        raise PageError("error.picture_twice")
    config = plan_pictures(request, task.subject, find.settings.styles, task.folder / "pictures")
    return replace(task, files=files, config=config, kept_as=folder_kept(config, find.settings.styles))


def _score(find: Finder, request: ScoreRequest, task: Task) -> Task:
    found = find_results(find.settings, request.suite)
    runs = next((root / request.suite for root in find.settings.trained
                 if any((root / request.suite).glob("[0-9]*-*/config.yaml"))), None)
    return replace(task, files={RESULTS: found, **({RUNS: runs} if runs else {})})


_PREPARE: dict[type[Request], Callable[..., Task]] = {
    GenerateRequest: _generate, CompareRequest: _compare, AlignRequest: _photograph, InvertRequest: _photograph,
    EditRequest: _edit, LearnRequest: _learn, PicturesRequest: _learn_pictures, ScoreRequest: _score}

"""One job: what was asked, how far it is, what came out; and the folder in which all of it survives a restart."""
from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jittor_ipl.disk.atomic import write_bytes
from jittor_ipl.disk.small_files import read_json
from jittor_ipl.errors import UserError
from jittor_ipl.webui.page_error import PageError, phrase_of
from jittor_ipl.webui.task import JobResult, Note

State = Literal["queued", "running", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")
RECORD = "job.json"
ID = re.compile(r"[0-9a-f]{16}")
MOST_LOSS = 600         # points of a curve that are kept


@dataclass
class Job:
    """One job of one owner; only the desk changes it, under its lock."""

    id: str
    owner: str
    request: dict[str, Any]
    folder: Path
    created: float = field(default_factory=time.time)
    state: State = "queued"
    stage: dict[str, Any] = field(default_factory=dict)     # name, done, of: what it is at
    fraction: float = 0.0
    error: str | None = None            # in English
    error_key: str | None = None        # of words.json, with its fields: the same in the page's language
    error_fields: dict[str, Any] = field(default_factory=dict)
    pictures: list[dict[str, Any]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    loss: list[tuple[int, float]] = field(default_factory=list)
    started: float | None = None
    ended: float | None = None
    cancelling: bool = False

    @property
    def kind(self) -> str:
        """The kind of its request."""
        return self.request["kind"]

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in ENDED

    def hear(self, note: Note) -> None:
        """Take in what the worker tells."""
        self.stage = {"name": note.stage, "done": note.done, "of": note.of}
        self.fraction = max(self.fraction, note.fraction)
        self.pictures += note.pictures
        self.loss += note.loss
        if len(self.loss) > MOST_LOSS:
            self.loss = self.loss[::2]

    def end(self, state: State, outcome: JobResult | None = None, error: UserError | None = None) -> None:
        """Note how it ended, and when. Other threads look at jobs meanwhile: one that is over has all that it has."""
        if outcome is not None:
            self.fraction, self.pictures = 1.0, list(outcome.pictures)
            self.files, self.facts = list(outcome.files), dict(outcome.facts)
        if error is not None:
            said = phrase_of(error).to_json()
            self.error, self.error_key, self.error_fields = str(error), said["key"], said["fields"]
        self.ended, self.cancelling = time.time(), False
        self.state = state

    def to_json(self, place: int | None) -> dict[str, Any]:
        """Return the job as the API tells it; `place` is how many wait before it."""
        shown = [{**picture, "url": url_of(self.id, picture["name"])} for picture in self.pictures]
        done = self.state == "done"
        return {"id": self.id, "kind": self.kind, "state": self.state, "place": place, "fraction": self.fraction,
                "stage": self.stage, "text": text_of(self, place), "error": self.error, "error_key": self.error_key,
                "error_fields": self.error_fields, "created": self.created, "started": self.started,
                "ended": self.ended, "cancelling": self.cancelling, "request": self.request,
                "result": {"pictures": shown if done else [],
                           "files": [{"name": name, "url": url_of(self.id, name)} for name in self.files],
                           "facts": self.facts},
                "live": {"pictures": shown, "loss": [list(point) for point in self.loss]}}

    def save(self) -> None:
        """Write the job into its folder."""
        kept = {name: value for name, value in vars(self).items() if name not in ("folder", "cancelling")}
        write_bytes(self.folder / RECORD, json.dumps(kept, ensure_ascii=False).encode())


def text_of(job: Job, place: int | None) -> str:
    """Return in English what a job is at."""
    if job.state == "queued":
        return "next" if place == 0 else f"{place} before it"
    if job.state != "running":
        return job.error or job.state
    stage = job.stage
    return f"{stage['name']} {stage['done']} of {stage['of']}" if stage.get("of") else stage.get("name", "starting")


def stopped() -> PageError:
    """Return why a job failed that a server's end cut short."""
    return PageError("error.stopped")


def url_of(job: str, name: str) -> str:
    """Return where a file of a job is served."""
    return f"/api/v1/jobs/{job}/files/{name}"


def read_jobs(root: Path) -> Iterator[Job]:
    """Yield the jobs that an earlier server left, the oldest first; folders without a whole record are removed.

    What was waiting or at work then has failed: nobody works on it any more.
    """
    found = []
    for folder in root.iterdir() if root.is_dir() else ():
        try:
            job = Job(**read_json(folder / RECORD, "job"), folder=folder)
            assert job.id == folder.name and job.kind
        except (UserError, TypeError, KeyError, AssertionError):
            shutil.rmtree(folder, ignore_errors=True)
            continue
        if not job.over:
            job.end("failed", error=stopped())
            with suppress(UserError):
                job.save()
        found.append(job)
    yield from sorted(found, key=lambda job: job.created)

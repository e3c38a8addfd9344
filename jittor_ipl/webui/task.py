"""What goes to a worker and what comes back: picklable, and known to both sides without Jittor."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jittor_ipl.config import StyleRun
from jittor_ipl.webui.catalogue import Domain, StyleChoice
from jittor_ipl.webui.requests import Request

# In Task.files: a photograph, the codes of an inverted one, a results folder, and the runs behind it.
UPLOAD, FACE, RESULTS, RUNS = "upload", "face", "results", "runs"
CODES = "latents.safetensors"       # what an inversion leaves for edits, in its job's folder


@dataclass(frozen=True)
class Task:
    """A request with all that it names found on disk.

    folder      where its files go
    subject     whose generator it is about
    styles      those it names, in order
    files       UPLOAD, FACE ... or, of several uploads, their ids, and where each lies
    config      how a style is learnt
    kept_as     the folder that it has afterwards
    """

    request: Request
    folder: Path
    subject: Domain
    styles: tuple[StyleChoice, ...] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    config: StyleRun | None = None
    kept_as: Path | None = None


@dataclass(frozen=True)
class Note:
    """What a worker tells while it works: how far it is, and what there is to see.

    stage       a word that the page has in its languages: "loading", "drawing", "learning" ...
    done, of    steps of that stage
    fraction    of the whole job, 0..1
    pictures    that exist now besides those told before
    loss        further points (step, value) of the loss
    """

    stage: str
    done: int = 0
    of: int = 0
    fraction: float = 0.0
    pictures: tuple[dict[str, Any], ...] = ()
    loss: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class JobResult:
    """What a finished job left: pictures and files in its folder, and facts for people."""

    pictures: tuple[dict[str, Any], ...] = ()
    files: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

"""New styles: a generator learns words, or a few pictures, and is kept under a name."""
from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from typing import Any

from jittor_ipl.adaptation.adapt import adapt_style
from jittor_ipl.adaptation.listeners import unknown_words
from jittor_ipl.adaptation.report import Report
from jittor_ipl.config import StyleRun
from jittor_ipl.disk.atomic import make_folder
from jittor_ipl.disk.layout import CHECKPOINTS, PAIRS, SAMPLES
from jittor_ipl.images.files import load_image
from jittor_ipl.text.tokenizer import shorten
from jittor_ipl.webui.learning_plans import REDRAWING, stages_of
from jittor_ipl.webui.page_error import PageError
from jittor_ipl.webui.task import JobResult, Task
from jittor_ipl.webui.work.models import Models
from jittor_ipl.webui.work.report import Reporter
from jittor_ipl.weights.clip import load_clip

RUN = "run"             # folder in the job's, while it learns
PICTURES = "pictures"   # of a style that is learnt from some
EVERY = 0.5             # seconds between two points that the curve gets


def learn(task: Task, models: Models, report: Reporter) -> JobResult:
    """Learn a style by words; the last sample grid and the report are its result, the style is in the catalogue."""
    report("loading")
    unknown = _unknown(task.config)
    return _learnt(task, report, {"unknown_words": unknown})


def learn_pictures(task: Task, models: Models, report: Reporter) -> JobResult:
    """Learn a style from pictures: a LoRA of the diffusion model first, then the generator by it."""
    report("loading")
    folder = make_folder(task.folder / PICTURES)
    for number, path in enumerate(task.files.values()):
        shutil.copyfile(path, folder / f"{number:02d}.png")
    return _learnt(task, report, {"pictures": len(task.files)})


def _unknown(config: StyleRun) -> list[str]:
    """Return the words that the CLIPs have never seen; UserError where that is all there is."""
    unknown = unknown_words([load_clip(one.model) for one in config.clip], config)
    if set(config.target.split()) <= set(unknown):
        raise PageError("error.never_seen", words=shorten(config.target))
    return unknown


def _learnt(task: Task, report: Reporter, facts: Mapping[str, Any]) -> JobResult:
    run, config = task.folder / RUN, task.config
    live = _Live(task, report)
    try:
        done = adapt_style(config, run, stream=sys.stderr, watch=live)
        if task.kept_as.exists():       # learnt by somebody else in the meantime
            raise PageError("error.style_taken_since", name=config.style)
        for name in (PAIRS, CHECKPOINTS):
            shutil.rmtree(run / name, ignore_errors=True)
        make_folder(task.kept_as.parent)
        os.rename(run, task.kept_as)
    finally:
        shutil.rmtree(run, ignore_errors=True)
    return JobResult(tuple(live.pictures), facts={**facts, **_figures(config, done)})


def _figures(config: StyleRun, done: Report) -> dict[str, Any]:
    return {"style": config.style, "words": config.target, "method": config.method, "seconds": round(done.seconds, 1),
            "clip_direction": done.direction_similarity}


class _Live:
    """Watches a training: how far, the loss, and each sample grid as it appears."""

    def __init__(self, task: Task, report: Reporter):
        self.task, self.report = task, report
        self.stages, self.pictures = stages_of(task.config), []
        self._points: list[tuple[int, float]] = []
        self._last, self._seen = 0.0, 0

    def __call__(self, stage: str, step: int, of: int, metrics: Mapping[str, float]) -> None:
        """Take in a step; raises `Cancelled` where the job was."""
        before, share = self.stages.before_and_share(stage)
        if "loss" in metrics:
            self._seen += 1
            self._points.append((self._seen, round(float(metrics["loss"]), 5)))
        grids = self._grids(stage, step, of) if stage != REDRAWING else []
        if not grids and step < of and time.monotonic() - self._last < EVERY:
            return
        self.report(stage, step, of, before + share * step / max(of, 1), pictures=grids, loss=self._points)
        self._points, self._last = [], time.monotonic()

    def _grids(self, stage: str, step: int, of: int) -> list[dict[str, Any]]:
        """Return the grid of a step, copied, where the training has just drawn one."""
        path = self.task.folder / RUN / SAMPLES / f"{step:06d}.png"
        if not path.is_file() or step != of and step % self.task.config.run.sample_every:
            return []
        name = f"grid-{len(self.pictures):02d}-{stage}-{step:05d}.png"
        shutil.copyfile(path, self.task.folder / name)
        return [self._told(name, stage, step)]

    def _told(self, name: str, stage: str, step: int) -> dict[str, Any]:
        config = self.task.config
        height, width, _ = load_image(self.task.folder / name).shape
        picture = {"name": name, "seed": None, "style": config.style, "width": width, "height": height,
                   "settings": {"stage": stage, "step": step},
                   "alt": f"seeds 0 to {config.run.samples - 1}: the source above, below {config.style} after {step} "
                          f"steps of {stage}"}
        self.pictures.append(picture)
        return picture

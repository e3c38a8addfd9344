"""A latent mapper's training in a folder of its own: it goes on after its newest checkpoint and ends with a report.

The folder: metrics.jsonl, tensorboard/, samples/, checkpoints/, mapper.safetensors, report.json (last).
"""
from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from jittor_ipl.config.sections import Run
from jittor_ipl.disk.atomic import sweep
from jittor_ipl.disk.integrity import file_sha256, read_sealed, write_sealed
from jittor_ipl.disk.layout import MAPPER, REPORT, SAMPLES
from jittor_ipl.disk.lock import locked
from jittor_ipl.disk.names import SUFFIX
from jittor_ipl.editing.codes import Faces, in_file_order
from jittor_ipl.editing.deviations import deviations
from jittor_ipl.editing.drawing import draw
from jittor_ipl.editing.guidance import Guide, Recogniser
from jittor_ipl.editing.latent_mapper import MapperSettings, edit_faces, train_latent_mapper
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import save_png
from jittor_ipl.images.sheets import grid
from jittor_ipl.jobs.signals import StopOnSignal
from jittor_ipl.models.latent_mappers import (
    LatentMapper,
    LatentMapperConfig,
    make_latent_mapper,
    published_tensors,
)
from jittor_ipl.runtime.memory import lack_as_user_error
from jittor_ipl.runtime.streams import rng
from jittor_ipl.train.stage import Stage, claim
from jittor_ipl.train.state import State
from jittor_ipl.weights.generator import generator_sha256
from jittor_ipl.weights.latent_mapper import save_latent_mapper


@dataclass(frozen=True)
class MapperReport:
    """What a finished training leaves behind."""

    prompt: str
    identity: str
    seconds: float
    mapper_sha256: str
    skipped: bool = False       # it was finished before


@dataclass(frozen=True)
class MapperRun:
    """All that a training needs: `shown` are the faces of its samples, `files` the hashes of what it reads."""

    prompt: str
    neutral: str                # empty: the prompt alone
    truncation: float           # of the faces that are drawn
    config: LatentMapperConfig
    settings: MapperSettings
    shown: Faces
    faces: Callable[[int], Faces]
    guides: Sequence[Guide]
    recogniser: Recogniser | None
    files: Sequence[str]
    in_deviations: bool = False     # count changes of codes in their deviations from face to face

    def identity(self) -> str:
        """Return the SHA-256 of all that decides the weights."""
        facts: dict[str, Any] = {
            "texts": [self.prompt, self.neutral], "truncation": self.truncation, "config": self.config.to_json(),
            "files": list(self.files), "in_deviations": self.in_deviations, "settings": asdict(self.settings),
            "generator": generator_sha256(self.shown.generator), "official": [guide.official for guide in self.guides]}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def train_mapper_in(run: MapperRun, run_dir: Path, logging: Run, *, restart: bool = False,
                    stream: TextIO | None = None) -> MapperReport:
    """Train a mapper in `run_dir` and return its report; progress goes to `stream` (stderr).

    A finished run is returned as it is (`skipped`), an interrupted one goes on after its newest whole checkpoint; other
    settings or files, and `restart`, begin anew. Raises `Interrupted` after a signal.
    """
    stream, identity = stream or sys.stderr, run.identity()
    with locked(run_dir), StopOnSignal() as stop:
        if not restart and (report := _finished(run_dir, identity)) is not None:
            return report
        claim(run_dir, identity, restart, stream)
        for folder in (run_dir, run_dir / SAMPLES):
            sweep(folder)
        generator, settings = run.shown.generator, run.settings
        units = deviations(generator, "S" if run.config.of_styles else "W+") if run.in_deviations else None
        ordered = in_file_order(generator, units) if units and run.config.of_styles else units
        mapper = make_latent_mapper(run.config, rng(settings.seed, "mapper.init"), ordered)
        with lack_as_user_error(f"{settings.batch} pictures of {generator.size} px a step", "lower --batch-size"), \
                Stage(run_dir, "mapper", settings.steps, logging, identity=identity, title=run.prompt, stop=stop,
                      advice=f"lower --learning-rate (now {settings.lr})", stream=stream,
                      show=_samples(run, mapper, run_dir) if logging.samples else None) as stage:
            train_latent_mapper(generator, mapper, run.faces, run.guides, settings, run.recogniser, stage, units)
        stop.raise_if_received()
        save_latent_mapper(run_dir / MAPPER, published_tensors(mapper), run.config.to_json(), generator, run.prompt)
        report = MapperReport(run.prompt, identity, round(stage.seconds(), 2), file_sha256(run_dir / MAPPER))
        write_sealed(run_dir / REPORT, {name: value for name, value in asdict(report).items() if name != "skipped"})
        return report


def _finished(run_dir: Path, identity: str) -> MapperReport | None:
    """Return the report of this run when it is finished and its weights are the reported ones."""
    try:
        report = MapperReport(**read_sealed(run_dir / REPORT, "report"))
    except (UserError, TypeError):
        return None
    whole = report.identity == identity and (run_dir / MAPPER).is_file() \
        and file_sha256(run_dir / MAPPER) == report.mapper_sha256
    return replace(report, skipped=True) if whole else None


def _samples(run: MapperRun, mapper: LatentMapper, run_dir: Path) -> Callable[[int, State], None]:
    """Return what saves the shown faces, before above after, as the mapper edits them at a step."""
    before = list(draw(run.shown.generator, run.shown.styles))

    def show(step: int, state: State) -> None:
        after = list(draw(run.shown.generator, edit_faces(run.shown, mapper)[1]))
        save_png(run_dir / SAMPLES / f"{step:06d}{SUFFIX}", grid([*before, *after], columns=len(before)),
                 {"prompt": run.prompt, "step": str(step)})
    return show

"""Pictures of seeds: in the source, in styles, by every method."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ipl.adaptation.render import Recipe, render
from jittor_ipl.disk.names import SUFFIX, seed_name
from jittor_ipl.images.files import save_png
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.webui.catalogue import StyleChoice
from jittor_ipl.webui.png import chunks_of
from jittor_ipl.webui.requests import GenerateRequest
from jittor_ipl.webui.task import JobResult, Task
from jittor_ipl.webui.work.models import Models
from jittor_ipl.webui.work.report import Reporter

SOURCE = "source"       # what stands in the place of a style's name


def generate(task: Task, models: Models, report: Reporter) -> JobResult:
    """Draw every seed in the source and in every style; each picture is told as soon as it is there."""
    request: GenerateRequest = task.request
    shown: list[StyleChoice | None] = [None, *task.styles]
    of, pictures = len(shown) * len(request.seeds), []
    report("loading", 0, of)
    for style in shown:
        generator = models.source(task.subject) if style is None else \
            models.style(task.subject, style, request.strength)
        for seed, pixels in drawn(generator, request.seeds, recipe_of(request, style)):
            picture = keep(task.folder, pixels, settings_of(request, style, seed), len(pictures))
            pictures.append(picture)
            report("drawing", len(pictures), of, pictures=[picture])
    return JobResult(tuple(pictures))


def recipe_of(request: GenerateRequest, style: StyleChoice | None) -> Recipe:
    """Return how a request's pictures are drawn: with the centre of truncation that the style was made with."""
    recipe = Recipe() if style is None else style.entry.plan.recipe
    return recipe.model_copy(update={"truncation": request.truncation, "noise": request.noise})


def drawn(generator: Generator, seeds: Sequence[int], recipe: Recipe) -> Any:
    """Yield (seed, pixels) one by one."""
    for seed in seeds:
        yield seed, next(render(generator, [seed], recipe, batch=1))


def settings_of(request: GenerateRequest, style: StyleChoice | None, seed: int) -> dict[str, Any]:
    """Return all that a picture was made with, so that reading it back makes the same picture."""
    found = {"kind": "generate", "subject": request.subject, "style": SOURCE if style is None else style.name,
             "seed": seed, "truncation": request.truncation, "noise": request.noise}
    return found if style is None else \
        {**found, "style_id": style.id, "strength": request.strength, "weights_sha256": style.entry.weights_sha256}


def keep(folder: Path, pixels: np.ndarray, settings: Mapping[str, Any], number: int) -> dict[str, Any]:
    """Write a picture with its settings inside and return what is told of it."""
    label = str(settings["style"]).replace(" ", "-")
    name = f"{number:03d}-{label}-{seed_name(settings['seed'])}{SUFFIX}" if "seed" in settings \
        else f"{number:03d}-{label}{SUFFIX}"
    save_png(folder / name, pixels, chunks_of(settings))
    height, width, _ = pixels.shape
    return {"name": name, "seed": settings.get("seed"), "style": settings["style"], "width": width, "height": height,
            "settings": dict(settings), "alt": alt_of(settings)}


def alt_of(settings: Mapping[str, Any]) -> str:
    """Return what a picture shows, in words for those who cannot see it."""
    subject = {"portraits": "portrait", "pets": "pet"}.get(str(settings.get("subject")), str(settings.get("subject")))
    seed = f" of seed {settings['seed']}" if "seed" in settings else ""
    style = "the source" if settings["style"] == SOURCE else f"the style {settings['style']}"
    return f"{subject}{seed} in {style}"

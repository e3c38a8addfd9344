"""Pictures of seeds: in the source, in styles, and in one style by every method."""
from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from jittor_ipl.adaptation.render import Recipe, render
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.webui.catalogue import StyleChoice
from jittor_ipl.webui.requests import REDRAWN, CompareRequest, GenerateRequest
from jittor_ipl.webui.task import JobResult, Task
from jittor_ipl.webui.work.models import Models
from jittor_ipl.webui.work.pictures import SOURCE, Album, in_style
from jittor_ipl.webui.work.redrawing import redrawn
from jittor_ipl.webui.work.report import Reporter


def generate(task: Task, models: Models, report: Reporter) -> JobResult:
    """Draw every seed in the source and in every style; each picture is told as soon as it is there."""
    request: GenerateRequest = task.request
    album, of = Album(task), (len(task.styles) + 1) * len(request.seeds)
    report("loading", 0, of)
    for style in (None, *task.styles):
        generator = models.source(task.subject) if style is None else \
            models.style(task.subject, style, request.strength)
        for seed, pixels in drawn(generator, request.seeds, _recipe(style, request.truncation, request.noise)):
            picture = add_seed(album, pixels, style, seed, request.truncation, request.noise, request.strength)
            report("drawing", len(album.pictures), of, pictures=[picture])
    return JobResult(tuple(album.pictures))


def compare(task: Task, models: Models, report: Reporter) -> JobResult:
    """Draw one seed in the source and, by every method that was named, in a style."""
    request: CompareRequest = task.request
    album, seed = Album(task), request.seed
    of = 1 + len(task.styles) + (REDRAWN in request.methods)
    report("loading", 0, of)
    before = None
    for style in (None, *task.styles):
        generator = models.source(task.subject) if style is None else models.style(task.subject, style)
        (_, pixels), = drawn(generator, [seed], _recipe(style, request.truncation))
        before = pixels if before is None else before
        picture = add_seed(album, pixels, style, seed, request.truncation, method=style.method if style else None)
        report("drawing", len(album.pictures), of, pictures=[picture])
    if REDRAWN in request.methods:
        pixels = redrawn(task.subject, request.style, before, models)
        picture = album.add(pixels, request.style, f"{album.what(seed)} redrawn by the diffusion model in the style "
                            f"{request.style}", REDRAWN, seed=seed, truncation=request.truncation, method=REDRAWN)
        report("drawing", of, of, pictures=[picture])
    return JobResult(tuple(album.pictures))


def add_seed(album: Album, pixels: np.ndarray, style: StyleChoice | None, seed: int, truncation: float,
             noise: str = "const", strength: float = 1.0, method: str | None = None) -> dict:
    """Keep the picture of a seed with all that makes it again: style None is the source."""
    name = SOURCE if style is None else style.name
    own = {} if style is None else {"style_id": style.id, "strength": strength,
                                    "weights_sha256": style.entry.weights_sha256}
    return album.add(pixels, name, in_style(album.what(seed), name, strength), seed=seed, truncation=truncation,
                     noise=noise, method=method, **own)


def drawn(generator: Generator, seeds: Sequence[int], recipe: Recipe) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (seed, pixels) one by one, so that a cancelled job ends after the picture that it is at."""
    for seed in seeds:
        yield seed, next(render(generator, [seed], recipe, batch=1))


def _recipe(style: StyleChoice | None, truncation: float, noise: str = "const") -> Recipe:
    recipe = Recipe() if style is None else style.entry.plan.recipe
    return recipe.model_copy(update={"truncation": truncation, "noise": noise})

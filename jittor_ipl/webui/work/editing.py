"""Faces changed by words: the same step in the style space, in the source and in a style, in several strengths."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jittor_ipl.editing.codes import Faces, faces_of_file, faces_of_seeds
from jittor_ipl.editing.dictionary import require_clips
from jittor_ipl.editing.direction import Step, moved
from jittor_ipl.editing.drawing import draw
from jittor_ipl.editing.finding import default_clips, find
from jittor_ipl.editing.session import Edit
from jittor_ipl.editing.words import synonyms_read, text_direction, unknown_words
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.webui.requests import EditRequest
from jittor_ipl.webui.task import FACE, JobResult, Task
from jittor_ipl.webui.work.models import Models
from jittor_ipl.webui.work.pictures import SOURCE, Album, in_style
from jittor_ipl.webui.work.report import Reporter
from jittor_ipl.weights.clip import load_clip

PARTS = (0.0, 0.5, 1.0, 1.5)        # of the strength that the CLIP finds, where nobody says how strong


def edit(task: Task, models: Models, report: Reporter) -> JobResult:
    """Draw every face in every strength, in the source first and then in the style; each is told as it comes."""
    request, album = task.request, Album(task)
    words, clips = _words(task, models, report)
    faces = _faces(task, models)
    step = words.steps(faces.generator.size, None if request.beta is None else [request.beta])[0]
    offsets, found = _offsets(task, models, words, step)
    shown = [(None, faces.generator), *((style, faces.shown_in(models.style(task.subject, style, request.strength)))
                                        for style in task.styles)]
    of = len(shown) * len(faces.names) * len(offsets)
    for style, generator in shown:
        codes = faces.in_generator(generator)
        for index, seed in enumerate(request.seeds if request.face is None else [None]):
            one = tuple(code[index:index + 1] for code in codes)
            for offset in offsets:
                pixels, = draw(generator, moved(one, step, offset))
                picture = _add(album, request, pixels, style, seed, offset, step)
                report("drawing", len(album.pictures), of, pictures=[picture])
    facts = {"offsets": offsets, "found_offset": found, "beta": round(float(step.beta), 4), "channels": step.channels,
             **_understood(clips, request)}
    return JobResult(tuple(album.pictures), facts=facts)


def _words(task: Task, models: Models, report: Reporter) -> tuple[Edit, Sequence[Clip]]:
    """Return the words looked up in the generator's dictionary, which is made once where there is none."""
    request: EditRequest = task.request
    source, refs = models.source(task.subject), default_clips((), task.subject.source)
    clips = [models.once(("clip", ref), lambda ref=ref: load_clip(ref)) for ref in refs]
    text = text_direction(clips, request.neutral, request.target)
    kept = [text_direction(clips, request.neutral, one) for one in request.keep]
    dictionary, statistics = models.once(("dictionary", task.subject.source), lambda: find(
        [source], refs, None, None, tell=lambda line: report("measuring")))
    require_clips(dictionary, refs, clips)
    return Edit(dictionary, statistics, clips, text, kept, request.neutral, request.target), clips


def _faces(task: Task, models: Models) -> Faces:
    request, source = task.request, models.source(task.subject)
    if request.face is not None:
        return faces_of_file(source, task.files[FACE])
    center = None if request.truncation == 1 else source.center(1, 0)       # the kept one, whatever the numbers
    return faces_of_seeds(source, request.seeds, request.truncation, center)


def _offsets(task: Task, models: Models, words: Edit, step: Step) -> tuple[list[float], float | None]:
    """Return the strengths to draw, and the one that the CLIP finds where the request leaves it open."""
    request, source = task.request, models.source(task.subject)
    if request.offsets is not None:
        return list(request.offsets), None
    key = "strength", task.subject.source, request.neutral, request.target, request.keep, request.beta
    found = models.once(key, lambda: words.alpha(source, step))
    return [round(part * found, 3) for part in PARTS], found


def _add(album: Album, request: EditRequest, pixels: Any, style: Any, seed: int | None, offset: float,
         step: Step) -> dict[str, Any]:
    name = SOURCE if style is None else style.name
    what = album.what(seed) if request.face is None else "the face of the photograph"
    alt = f"{in_style(what, name, request.strength)}, edited to {request.target!r} with strength {offset:g}"
    own = {} if style is None else {"style_id": style.id, "strength": request.strength}
    return album.add(pixels, name, alt, f"{name} {request.target} {offset:+g}", seed=seed, face=request.face,
                     truncation=request.truncation, neutral=request.neutral, target=request.target,
                     keep=list(request.keep), offset=offset, beta=round(float(step.beta), 4), **own)


def _understood(clips: Sequence[Clip], request: EditRequest) -> dict[str, Any]:
    """Return what the author of the words should know: which of them are read as others, and which say nothing."""
    texts = request.neutral, request.target, *request.keep
    unknown = dict.fromkeys(word for clip in clips for text in texts for word in unknown_words(clip, text))
    return {"read_as": synonyms_read(clips, texts), "unknown_words": list(unknown)}

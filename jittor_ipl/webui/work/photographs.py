"""Photographs: the face cut out of one, its code in the generator, and the same face in styles."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jittor_ipl.images.pixels import from_uint8
from jittor_ipl.inversion.align import MAX_SIZE, Aligned, aligned
from jittor_ipl.inversion.distances import explained, verdict
from jittor_ipl.inversion.encode import encode_with
from jittor_ipl.inversion.inputs import Input, read_input
from jittor_ipl.inversion.invert import Inverted, Tools, drawn, invert, mean_picture
from jittor_ipl.inversion.landmarks import Landmarks
from jittor_ipl.inversion.matching import Edges
from jittor_ipl.inversion.projection import Projection
from jittor_ipl.inversion.settings import settings_of
from jittor_ipl.webui.requests import InvertRequest
from jittor_ipl.webui.task import CODES, UPLOAD, JobResult, Task
from jittor_ipl.webui.work.models import Models
from jittor_ipl.webui.work.pictures import SOURCE, Album, in_style
from jittor_ipl.webui.work.report import Reporter
from jittor_ipl.weights.tuned import carried_over, save_tuned

SHOWN = 256                         # px of an aligned face that is looked at
WHAT = "the face of the photograph"


def align(task: Task, models: Models, report: Reporter) -> JobResult:
    """Cut the face out, by points or by dlib, and tell where it is."""
    album, one = Album(task), _aligned(task, task.files[UPLOAD], SHOWN)
    picture = album.add(one.pixels, "aligned", f"{WHAT}, cut out and upright")
    return JobResult((picture,), facts=one.to_json())


def invert_photograph(task: Task, models: Models, report: Reporter) -> JobResult:
    """Bring the face into the generator and show it in every style; each picture is told as soon as it is there."""
    request: InvertRequest = task.request
    source, album = models.source(task.subject), Album(task)
    given = "always" if request.eyes is not None and request.align == "auto" else request.align
    face = read_input(task.files[UPLOAD], source.size, given, lambda path: _aligned(task, path, source.size))
    report("aligning", fraction=0.05, pictures=[album.add(face.pixels, "aligned", f"{WHAT}, cut out")])
    settings = settings_of(source.size, True, given={"tune_steps": None if request.tune else 0})
    encode = models.once(("encoder", task.subject.id), lambda: encode_with(task.subject.encoder, source))
    made = invert(Tools(source, Edges(), encode), (task.request.upload,), from_uint8(face.pixels)[None], *settings,
                  tick=lambda what, step, steps: report(_stage(what), step, steps, _fraction(what, step, steps)))
    shown = album.add(made.final[0], SOURCE, f"{WHAT} as the generator draws it", "reconstruction")
    report("drawing", 0, len(task.styles), 0.9, pictures=[shown])
    for number, style in enumerate(task.styles, 1):
        adapted = models.style(task.subject, style, request.strength)
        pixels = drawn(carried_over(made.tuned.generator, source, adapted), made.tuned.latents)[0]
        picture = album.add(pixels, style.name, in_style(WHAT, style.name, request.strength), style_id=style.id,
                            strength=request.strength, weights_sha256=style.entry.weights_sha256)
        report("drawing", number, len(task.styles), 0.9 + 0.1 * number / len(task.styles), pictures=[picture])
    save_tuned(made.tuned, source, task.folder / CODES, {"source": task.subject.source})
    return JobResult(tuple(album.pictures), (CODES,), _facts(face, made, settings[0]))


def _aligned(task: Task, path: Path, size: int) -> Aligned:
    eyes, mouth = task.request.eyes, task.request.mouth
    marks = None if eyes is None else Landmarks(*eyes, mouth)
    return aligned(path, size, transform_size=min(4 * size, MAX_SIZE), landmarks=marks)


def _stage(what: str) -> str:
    return "tuning" if what.endswith("tuning") else "projecting"


def _fraction(what: str, step: int, steps: int) -> float:
    """Return how much of the whole is done: encoding and projection are the smaller half."""
    return 0.05 + 0.3 * step / steps if _stage(what) == "projecting" else 0.35 + 0.55 * step / steps


def _facts(face: Input, made: Inverted, projection: Projection) -> dict[str, Any]:
    """Return what `invert` reports of a picture: how much of it is met, in words, too."""
    mean = mean_picture(made.tuned.generator, projection)
    code, tuned = (explained(face.pixels, images[0], mean) for images in (made.untuned, made.final))
    error = np.square(face.pixels.astype(np.float64) - made.final[0]).mean()
    return {"explained": round(tuned, 4), "explained_by_code": round(code, 4),
            "psnr": round(float(10 * np.log10(255**2 / max(error, 1e-9))), 2),
            "verdict": verdict(code, tuned if "tuning" in made.stages else None),
            "seconds": {stage: round(seconds, 2) for stage, seconds in made.seconds.items()},
            "alignment": face.alignment, "remarks": [said for said in face.remarks if "--align" not in said]}

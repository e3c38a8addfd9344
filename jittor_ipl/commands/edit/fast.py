"""`edit fast`: one direction for one prompt in seconds, and what it does to some faces."""
from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from jittor_ipl.commands import options
from jittor_ipl.commands.edit.faces import face_options, open_faces, open_generator
from jittor_ipl.commands.edit.guides import (
    DEMO_CLIPS,
    guide_options,
    in_units,
    open_guides,
    open_identity,
    units_option,
)
from jittor_ipl.commands.edit.numbers import numbers_of
from jittor_ipl.errors import UserError

EXAMPLES = """  python -m jittor_ipl edit fast --prompt "happy face"
  python -m jittor_ipl edit fast --prompt "gold hair" --seeds 0-7 --strengths=-2,2,4 --outdir edits/gold
  python -m jittor_ipl edit fast --weights ffhq.pt --clip ViT-B/32 --prompt "a tanned person" --find-on 1-128 \\
      --identity-power medium --ir-se50-weights model_ir_se50.pth"""
_SEARCH = {"cls": options.Option, "heading": "the search (StyleMC's numbers)"}


@click.command(cls=options.Command, examples=EXAMPLES)
@face_options
@guide_options
@click.option("--find-on", default="1-128", metavar="LIST", help="Seeds of the faces that it is found on.", **_SEARCH)
@click.option("--batch-size", "--batch", type=options.positive, default=4, metavar="N", help="Faces a pass.", **_SEARCH)
@click.option("--identity-power", type=click.Choice(["high", "medium", "low", "none"]), default="none",
              help="Weight of the identity loss: 2, 0.5, 0.1, 0.", **_SEARCH)
@click.option("--resolution", type=options.positive, default=256, metavar="N",
              help="Draw no larger than the first level of so many pixels.", **_SEARCH)
@click.option("--step", type=float, default=0.1, metavar="X",
              help="How far a gradient moves the channel that it moves most.", **_SEARCH)
@units_option
@click.option("--strengths", "--alpha", "--direction-offset", "strengths", default="auto", metavar="LIST",
              help="Show the faces with so much of it: -1,0,2.5. auto: 2.")
@click.option("--outdir", "--output", metavar="DIR",
              help="Folder of the direction and the pictures.  [default: edits/fast-PROMPT]")
def command(seeds: str | None, latent: str | None, prompt: str, neutral: str, clips: tuple[str, ...],
            identity_file: str | None, compat: str, find_on: str, batch_size: int, identity_power: str, resolution: int,
            step: float, in_deviations: bool | None, strengths: str, outdir: str | None, **more: Any) -> int:
    """Find one direction for a prompt in seconds; edit movie and edit direction apply its file."""
    from jittor_ipl.disk.atomic import output_folder, write_json
    from jittor_ipl.editing import fast
    from jittor_ipl.editing.codes import faces_of_seeds
    from jittor_ipl.editing.deviations import deviations
    from jittor_ipl.editing.results import RECORD, edit_folder, slug
    from jittor_ipl.runtime.streams import parse_seeds
    alphas, found_on = numbers_of(strengths, "--strengths") or [fast.STRENGTH], parse_seeds(find_on)
    if not step > 0:
        raise UserError(f"--step {step} must be positive")
    settings = fast.FastSettings(batch_size, step=step, id_lambda=fast.IDENTITY[identity_power], side=resolution)
    opened = open_generator(**more)
    generator = opened.generator
    guides = open_guides(opened, prompt, clips, compat, neutral)
    recogniser = open_identity(identity_file, clips, settings.id_lambda)
    faces = open_faces(opened, seeds, latent)
    folder, began = output_folder(edit_folder(outdir, "fast", prompt)), time.monotonic()
    shown = faces_of_seeds(generator, found_on, opened.entry.plan.recipe.truncation, opened.center())
    units = deviations(generator, "S") if in_units(opened, in_deviations) else None
    deltas = fast.find_step(generator, shown.styles, guides, settings, units, recogniser)
    seconds = round(time.monotonic() - began, 2)
    facts = {"prompt": prompt, "neutral": neutral, "clip": " ".join(clips or DEMO_CLIPS)}
    file = folder / f"{slug(prompt)}.safetensors"
    fast.save_step(file, generator, deltas, facts)
    sheet = _pictures(folder, faces, deltas, alphas, prompt)
    moving = sum(int((delta != 0).sum()) for delta in deltas)
    write_json(folder / RECORD, {"method": "fast", **facts, "seconds": seconds, "channels": moving,
                                      "strengths": alphas, "found_on": find_on, "faces": list(faces.names)})
    print(f"{prompt}: {moving} channels move, found in {seconds:.1f} s -> {file}, {sheet}")
    return 0


def _pictures(folder: Path, faces: Any, deltas: Any, alphas: list[float], prompt: str) -> Path:
    """Write every face with every strength, and the sheet of all, a row for each strength below the faces as they are.
    """
    from jittor_ipl.disk.names import SUFFIX
    from jittor_ipl.editing.drawing import draw
    from jittor_ipl.editing.results import save_sheet
    from jittor_ipl.images.files import save_png
    rows = {"before": list(draw(faces.generator, faces.styles))}
    for alpha in alphas:
        styles = tuple(code + alpha * delta for code, delta in zip(faces.styles, deltas))
        pictures = list(draw(faces.generator, styles))
        for name, picture in zip(faces.names, pictures):
            save_png(folder / f"{name}_{alpha:+g}{SUFFIX}", picture, {"prompt": prompt, "strength": f"{alpha:g}"})
        rows[f"{alpha:+g}"] = pictures
    return save_sheet(folder, faces.names, rows, {"prompt": prompt})

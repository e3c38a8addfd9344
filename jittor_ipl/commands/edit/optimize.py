"""`edit optimize`: StyleCLIP's latent optimisation of single faces, or of none at all."""
from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jittor_ipl.commands import options
from jittor_ipl.commands.edit.faces import count_of, face_options, open_faces, open_generator
from jittor_ipl.commands.edit.guides import (
    DEMO_CLIPS,
    guide_options,
    in_units,
    of_the_demo,
    open_guides,
    open_identity,
    units_option,
)
from jittor_ipl.errors import UserError

if TYPE_CHECKING:
    import numpy as np

    from jittor_ipl.editing.codes import Faces
    from jittor_ipl.editing.optimize import Watcher

EXAMPLES = """  python -m jittor_ipl edit optimize --seeds 0-1 --prompt "happy face"
  python -m jittor_ipl edit optimize --seeds 3 --prompt "gold hair" --work-in-stylespace --snapshot-every 20
  python -m jittor_ipl edit optimize --mode free_generation --prompt "a girl with curly hair"
  python -m jittor_ipl edit optimize --weights ffhq.pt --clip ViT-B/32 --latent-path face.pt --prompt "purple hair"
  python -m jittor_ipl edit optimize --clip ViT-B/32 --weights ffhq.pt --l2-lambda 0.005 --id-lambda 0.005 \\
      --ir-se50-weights model_ir_se50.pth --prompt "beard" --compat official"""
# Along the principal directions of its faces.
ON_THE_DEMO = {"steps": 40, "lr": 0.1, "l2_lambda": 0.001, "pixel_lambda": 2.0, "noise": 0.3}
FREELY_ON_THE_DEMO = {**ON_THE_DEMO, "steps": 80, "l2_lambda": 0.003}     # a long way from the mean face, to a face
_DESCENT = {"cls": options.Option, "heading": "the descent (StyleCLIP's numbers)"}


@click.command(cls=options.Command, examples=EXAMPLES)
@face_options
@guide_options
@click.option("--mode", type=click.Choice(["edit", "free_generation"]), default="edit",
              help="free_generation: from the mean face, led by the prompt alone; where codes move in deviations, to "
                   "a likely face.", **_DESCENT)
@click.option("--work-in-stylespace", "in_s", is_flag=True, help="Move S codes in place of W+.", **_DESCENT)
@click.option("--steps", "--step", type=options.positive, metavar="N",
              help=f"Steps.  [default: 300; {ON_THE_DEMO['steps']} for the demo's generator]", **_DESCENT)
@click.option("--lr", "--learning-rate", type=float, metavar="X",
              help=f"Highest learning rate.  [default: 0.1; {ON_THE_DEMO['lr']} for the demo's generator]", **_DESCENT)
@units_option
@click.option("--lr-rampup", type=float, default=0.05, metavar="PART", help="Part of the steps in which it rises.",
              **_DESCENT)
@click.option("--l2-lambda", type=float, metavar="X", help="Weight of the distance to the start.  [default: 0.008; "
              f"{ON_THE_DEMO['l2_lambda']} for the demo's generator]", **_DESCENT)
@click.option("--pixel-lambda", type=float, metavar="X", help="Weight of the mean squared change of the picture.  "
              f"[default: 0; {ON_THE_DEMO['pixel_lambda']} for the demo's generator]", **_DESCENT)
@click.option("--noise", type=float, metavar="X", help="Deviation of noise on steps along principal directions, which "
              f"fades.  [default: 0; {ON_THE_DEMO['noise']} for the demo's generator]", **_DESCENT)
@click.option("--id-lambda", type=float, default=0.0, metavar="X", help="Weight of the identity loss.", **_DESCENT)
@click.option("--save-intermediate-image-every", "--snapshot-every", "every", type=click.IntRange(0), default=0,
              metavar="N", help="Save the picture every so many steps; 0 for none.")
@click.option("--outdir", "--output", "--results-dir", metavar="DIR",
              help="Folder of the results.  [default: edits/optimize-PROMPT]")
def command(seeds: str | None, latent: str | None, prompt: str, neutral: str, clips: tuple[str, ...],
            identity_file: str | None, compat: str, mode: str, in_s: bool, steps: int | None, lr: float | None,
            lr_rampup: float, l2_lambda: float | None, pixel_lambda: float | None, noise: float | None,
            id_lambda: float, every: int, outdir: str | None, in_deviations: bool | None, **weights: Any) -> int:
    """Move a face's codes until its picture shows what a prompt says."""
    from jittor_ipl.disk.atomic import output_folder
    from jittor_ipl.editing.codes import as_styles
    from jittor_ipl.editing.deviations import principal
    from jittor_ipl.editing.drawing import draw
    from jittor_ipl.editing.optimize import Descent, mean_face, optimise, start_of
    from jittor_ipl.editing.results import LATENTS, edit_folder, save_codes, save_edit, settings_of
    if not 0 <= lr_rampup <= 1:
        raise UserError(f"--lr-rampup {lr_rampup} is no part of the steps; choose 0 to 1")
    free = mode == "free_generation"
    given = {"steps": steps, "lr": lr, "l2_lambda": l2_lambda, "pixel_lambda": pixel_lambda, "noise": noise}
    given = {name: value for name, value in given.items() if value is not None}
    same = {"space": "S" if in_s else "W+", "id_lambda": id_lambda, "rampup": lr_rampup, "free": free}
    Descent(**given, **same)         # a mistake is told before anything is read
    if free and seeds is not None:
        raise UserError("--mode free_generation starts from the mean face, or from --latent: leave --seeds out")
    opened = open_generator(**weights)
    along = in_units(opened, in_deviations)
    if noise and not along:
        raise UserError(f"--noise {noise} goes along principal directions: add --in-deviations, or leave it out")
    usual = (FREELY_ON_THE_DEMO if free else ON_THE_DEMO) if of_the_demo(opened) else {}
    settings = Descent(**{**usual, **({} if along else {"noise": 0.0}), **given, **same})
    recipe = opened.entry.plan.recipe
    faces = open_faces(opened, seeds, latent) if latent is not None or not free else \
        mean_face(opened.generator, recipe.mean_latent_samples, recipe.mean_latent_seed)
    guides = open_guides(opened, prompt, clips, compat, "" if free and not along else neutral)
    recogniser = None if free else open_identity(identity_file, clips, id_lambda)
    directions = principal(faces.generator, settings.space) if along else None
    starts = [start_of(faces, index, settings.space) for index in range(len(faces.names))]
    ends, losses, began = [], [], time.monotonic()
    folder = output_folder(edit_folder(outdir, "optimize", prompt))
    for name, start in zip(faces.names, starts):
        watch, seen = _watcher(faces, name, folder, every, settings.steps)
        ends.append(optimise(faces.generator, start, guides, settings, recogniser, watch, directions))
        losses.append({"first": seen[0], "last": seen[-1]})
        click.echo(f"{name}: loss {seen[0]:.3f} -> {seen[-1]:.3f}", err=True)
    codes = [_joined(parts) for parts in zip(*ends)]
    before = None if free else list(draw(faces.generator, faces.styles))
    after = list(draw(faces.generator, as_styles(faces.generator, codes)))
    seconds = round(time.monotonic() - began, 2)
    facts = {"method": "optimize", "prompt": prompt, "neutral": neutral, "clip": list(clips or DEMO_CLIPS),
             "compat": compat, "in_deviations": directions is not None,
             **settings_of(settings), "losses": losses, "seconds": seconds}
    shown = save_edit(folder, faces.names, before, after, facts)
    save_codes(folder / LATENTS, faces, codes)
    print(f"{count_of(after)} in {seconds:.0f} s -> {shown}")
    return 0


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    import numpy as np
    return np.concatenate(parts)


def _watcher(faces: Faces, name: str, folder: Path, every: int, total: int) -> tuple[Watcher, list[float]]:
    """Return what is called after every step, and the list of losses that it fills."""
    from jittor_ipl.disk.names import SUFFIX
    from jittor_ipl.editing.codes import as_styles
    from jittor_ipl.editing.drawing import draw
    from jittor_ipl.images.files import save_png
    losses: list[float] = []

    def watch(step: int, loss: float, codes: Sequence[np.ndarray]) -> None:
        losses.append(loss)
        if every and (step % every == 0 or step == total):
            picture, = draw(faces.generator, as_styles(faces.generator, codes))
            save_png(folder / f"{name}-{step:05d}{SUFFIX}", picture, {"step": str(step)})
    return watch, losses

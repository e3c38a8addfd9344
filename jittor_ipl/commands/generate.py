"""`generate`: the pictures of chosen seeds, made by one generator, one LoRA or one base model."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jittor_ipl.commands import options
from jittor_ipl.errors import UserError

EXAMPLES = """  python -m jittor_ipl generate --weights runs/demo/00-disney --seeds 0-7 --outdir out
  python -m jittor_ipl generate --weights B_weight/demo --style cubism --seeds 3,5 --trunc 1
  python -m jittor_ipl generate --network demo:generator --seeds 0,1,5-10 --noise-mode random
  python -m jittor_ipl generate --weights runs/demo_lora/00-ukiyo-e --prompt "happy girl with red hair" --seeds 0
  python -m jittor_ipl generate --weights models/stable-diffusion-2-1 --prompt "a lighthouse" --seeds 0-3 --steps 30
  python -m jittor_ipl generate --weights lora.safetensors --base models/stable-diffusion-2-1 --prompt cat --seeds 0"""
# Of a diffusion model: in place of the style's own settings.
DIFFUSION = {"cls": options.Option, "heading": "pictures of a diffusion model"}


@click.command(cls=options.Command, examples=EXAMPLES)
@click.option("--weights", "--network", "--adapted-gen-ckpt", required=True, type=options.shipped, metavar="WHAT",
              help="Run folder, B_weight/<suite>/<NN>, suite folder with --style, weight file, demo:<name>, or a base "
                   "model's folder.")
@click.option("--style", metavar="NAME", help="Which style of a suite folder.")
@click.option("--source", metavar="FILE", help="Source generator of a delta file.")
@click.option("--seeds", "--seed", required=True, metavar="LIST", help="0,1,5-10")
@click.option("--truncation", "--trunc", "--truncation-psi", "--sample-truncation", type=float, metavar="PSI",
              help="[default: the style's, else 0.7]")
@click.option("--noise-mode", "--noise", type=click.Choice(["const", "none", "random"]),
              help="[default: the style's, else const]")
@click.option("--prompt", metavar="TEXT", help="What the pictures show, without a LoRA's word for its style.",
              **DIFFUSION)
@click.option("--base", metavar="MODEL", help="Base model of a LoRA file: a folder, or demo:diffusion.", **DIFFUSION)
@click.option("--negative-prompt", "negative", metavar="TEXT", help="What they do not show.", **DIFFUSION)
@click.option("--sampler", "--scheduler", type=click.Choice(["ddpm", "ddim", "pndm", "euler", "euler-a", "dpm++2m"]),
              help="How noise becomes a picture.", **DIFFUSION)
@click.option("--steps", "--num-inference-steps", type=options.positive, metavar="N", help="Its steps.", **DIFFUSION)
@click.option("--guidance", "--guidance-scale", type=float, metavar="W", help="Classifier-free guidance.", **DIFFUSION)
@click.option("--size", "--height", type=options.positive, metavar="N", help="Side in pixels.", **DIFFUSION)
@click.option("--outdir", "--output", "--output-dir", default="out", metavar="DIR", help="Folder of the pictures.")
@options.batch
@options.workers
def command(weights: str, style: str | None, source: str | None, seeds: str, truncation: float | None,
            noise_mode: str | None, prompt: str | None, base: str | None, outdir: str, batch: int, workers: int,
            **recipe: Any) -> int:
    """Make pictures of chosen seeds."""
    from jittor_ipl.disk.atomic import output_folder
    from jittor_ipl.disk.names import SUFFIX
    from jittor_ipl.images.files import save_png
    from jittor_ipl.submission.produce import produce
    from jittor_ipl.submission.sets import open_one
    changes = {name: value for name, value in recipe.items() if value is not None}
    if prompt is None and (base or changes):
        raise UserError(f"{', '.join(['base'] * bool(base) + list(changes))}: only pictures of a --prompt have these")
    if prompt is not None:
        from jittor_ipl.submission.prompted import open_prompted
        if source or truncation is not None or noise_mode:
            raise UserError("--source, --truncation and --noise-mode are of generators, which read no --prompt")
        entry = open_prompted(weights, seeds, prompt, changes, style=style, base=base)
    else:
        entry = open_one(weights, seeds, style=style, source=source, truncation=truncation, noise=noise_mode)
    folder = None                # made for the first picture, so that a mistake leaves nothing behind
    wanted = {entry.number: list(entry.plan.images)}
    for _, name, image in produce([entry], wanted, batch=batch, workers=workers):
        folder = folder or output_folder(Path(outdir))
        save_png(folder / f"{name}{SUFFIX}", image, {"style": entry.plan.style, "seed": str(entry.plan.images[name])})
    print(f"{len(entry.plan.images)} pictures -> {folder}")
    return 0

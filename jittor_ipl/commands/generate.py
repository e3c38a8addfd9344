"""`generate`: the pictures of chosen seeds, made by one generator or one LoRA."""
from __future__ import annotations

from pathlib import Path

import click

from jittor_ipl.commands import options

EXAMPLES = """  python -m jittor_ipl generate --weights runs/demo/00-disney --seeds 0-7 --outdir out
  python -m jittor_ipl generate --weights B_weight/demo --style cubism --seeds 3,5 --trunc 1
  python -m jittor_ipl generate --network demo:generator --seeds 0,1,5-10 --noise-mode random
  python -m jittor_ipl generate --weights runs/demo_lora/00-ukiyo-e --prompt "happy girl with red hair" --seeds 0"""


@click.command(cls=options.Command, examples=EXAMPLES)
@click.option("--weights", "--network", "--adapted-gen-ckpt", required=True, type=options.shipped, metavar="WHAT",
              help="Run folder, B_weight/<suite>/<NN>, suite folder with --style, weight file, or demo:<name>.")
@click.option("--style", metavar="NAME", help="Which style of a suite folder.")
@click.option("--source", metavar="FILE", help="Source generator of a delta file.")
@click.option("--seeds", "--seed", required=True, metavar="LIST", help="0,1,5-10")
@click.option("--truncation", "--trunc", "--truncation-psi", "--sample-truncation", type=float, metavar="PSI",
              help="[default: the style's, else 0.7]")
@click.option("--noise-mode", "--noise", type=click.Choice(["const", "none", "random"]),
              help="[default: the style's, else const]")
@click.option("--prompt", metavar="TEXT", help="What a LoRA's pictures show, without the word for the style.")
@click.option("--outdir", "--output", "--output-dir", default="out", metavar="DIR", help="Folder of the pictures.")
@options.batch
@options.workers
def command(weights: str, style: str | None, source: str | None, seeds: str, truncation: float | None,
            noise_mode: str | None, prompt: str | None, outdir: str, batch: int, workers: int) -> int:
    """Make pictures of chosen seeds."""
    from jittor_ipl.disk.atomic import output_folder
    from jittor_ipl.disk.names import SUFFIX
    from jittor_ipl.images.files import save_png
    from jittor_ipl.submission.produce import produce
    from jittor_ipl.submission.sets import open_one
    entry = open_one(weights, seeds, style=style, source=source, truncation=truncation, noise=noise_mode,
                     prompt=prompt)
    folder = None                # made for the first picture, so that a mistake leaves nothing behind
    wanted = {entry.number: list(entry.plan.images)}
    for _, name, image in produce([entry], wanted, batch=batch, workers=workers):
        folder = folder or output_folder(Path(outdir))
        save_png(folder / f"{name}{SUFFIX}", image, {"style": entry.plan.style, "seed": str(entry.plan.images[name])})
    print(f"{len(entry.plan.images)} pictures -> {folder}")
    return 0

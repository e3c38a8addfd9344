"""`edit prepare`: the statistics of a generator's style space and the dictionary of its global directions."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from jittor_ipl.commands import options
from jittor_ipl.commands.edit.faces import generator_options

EXAMPLES = """  python -m jittor_ipl edit prepare --weights demo:generator
  python -m jittor_ipl edit prepare --way full --faces 100 --output edits/directions/demo-full
  python -m jittor_ipl edit prepare --way first-order --target "happy face" --target "boy face" \\
      --output edits/directions/two
  python -m jittor_ipl edit prepare --weights weights/stylegan2-ffhq-config-f.pt --clip weights/ViT-B-32.pt"""


@click.command(cls=options.Command, examples=EXAMPLES)
@generator_options
@click.option("--clip", "clips", multiple=True, metavar="WHAT",
              help="CLIP that looks; may be given again for several side by side.  [default: demo:clip-local, of other "
                   "generators weights/ViT-B-32.pt]")
@click.option("--way", type=click.Choice(["sampled", "full", "first-order"]), default="sampled",
              help="sampled: how channels and what CLIP sees vary together over random faces, a render each; full: the "
                   "published one, two renders a channel and face; first-order: derivatives in their place but for a "
                   "tenth of the channels.")
@click.option("--faces", "--num-images", type=options.positive, metavar="N",
              help="Faces behind it.  [default: 3000 sampled, else 100]")
@click.option("--alpha", type=float, default=5.0, metavar="A",
              help="Of full and first-order: deviations to either side.")
@click.option("--target", "targets", multiple=True, metavar="TEXT",
              help="Of first-order: what alone it is to answer for, with fewer passes back; may be given again.")
@click.option("--neutral", default="face", metavar="TEXT", help="The neutral words of these targets.")
@click.option("--output", "--output-path", "--outdir", metavar="DIR",
              help="Folder of the files.  [default: ~/.cache/jittor_ipl/directions, where edit direction finds them]")
def command(weights: str, style: str | None, source: str | None, clips: tuple[str, ...], way: str, faces: int | None,
            alpha: float, targets: tuple[str, ...], neutral: str, output: str | None, **numbers: Any) -> int:
    """Measure what each channel of a generator's style space changes in CLIP's space; may be stopped and goes on."""
    from jittor_ipl.commands.edit.faces import open_generator
    from jittor_ipl.editing.finding import default_clips, make
    opened = open_generator(weights, style=style, source=source, **numbers)
    clips = default_clips(clips, opened.entry.plan.source)
    path = make(opened.generator, clips, way, faces, alpha, Path(output) if output else None, neutral, targets)
    print(f"{path.parent}: {', '.join(sorted(file.name for file in path.parent.glob('*.safetensors')))}")
    return 0

"""`edit direction`: edit faces by global directions, as StyleCLIP's third method and PaddleGAN's command do."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jittor_ipl.commands import options
from jittor_ipl.commands.edit.faces import face_options
from jittor_ipl.commands.edit.numbers import numbers_of
from jittor_ipl.errors import UserError

if TYPE_CHECKING:
    from jittor_ipl.commands.edit.faces import OpenedGenerator
    from jittor_ipl.editing.fast import FoundEdit
    from jittor_ipl.editing.session import Edit

EXAMPLES = """  python -m jittor_ipl edit direction --seeds 0-3 --neutral face --target "happy face"
  python -m jittor_ipl edit direction --neutral face --target "boy face" --direction-offset=-1,0,1,2,3,4,5
  python -m jittor_ipl edit direction --target "happy face" --also B_weight/demo/00 --also B_weight/demo/03
  python -m jittor_ipl edit direction --target "angry face" --keep "boy face" --beta-threshold .1,.3 --alpha 1,3
  python -m jittor_ipl edit direction --direction-path edits/fast-happy-face/happy-face.safetensors \\
      --direction-offset=-1,0,1,2,3
  python -m jittor_ipl edit direction --latent dst.npy --weight-path stylegan2.pdparams --target "young face" \\
      --direction-path directions.pdparams --stat-path stats.pdparams --direction-offset 5 --output-path output_dir"""


@click.command(cls=options.Command, examples=EXAMPLES)
@face_options
@click.option("--neutral", default="face", metavar="TEXT", help="What the faces are, in words.")
@click.option("--target", metavar="TEXT", help="What they become. A file of edit fast says it by itself.")
@click.option("--direction-offset", "--alpha", "offsets", default="auto", metavar="LIST",
              help="Strength, or several: -1,0,1,2. auto: that with which CLIP sees the target in most faces.")
@click.option("--beta-threshold", "--beta", "betas", default="auto", metavar="LIST",
              help="Relevance below which a channel stays, or several for a grid with the strengths.")
@click.option("--keep", multiple=True, metavar="TEXT",
              help="What is not to change along with it (against the neutral words); may be given again.")
@click.option("--also", multiple=True, type=options.shipped, metavar="WHAT",
              help="Show the same edit in this adapted generator, too; may be given again.")
@click.option("--clip", "clips", multiple=True, metavar="WHAT",
              help="CLIP that the dictionary was measured with.  [default: demo:clip-local, else weights/ViT-B-32.pt]")
@click.option("--direction-path", "--directions", metavar="FILE",
              help="Dictionary: of edit prepare, fs3.npy, PaddleGAN's .pdparams; or one direction, of edit fast.  "
                   "[default: made once and kept]")
@click.option("--stat-path", "--statistics", metavar="FILE",
              help="Means and deviations: of edit prepare, S_mean_std, PaddleGAN's stats.")
@click.option("--outdir", "--output", "--output-path", metavar="DIR",
              help="Folder of the pictures.  [default: edits/direction-TARGET]")
@options.batch
def command(weights: str, style: str | None, source: str | None, seeds: str | None, latent: str | None,
            truncation: float | None, neutral: str, target: str | None, offsets: str, betas: str, keep: tuple[str, ...],
            also: tuple[str, ...], clips: tuple[str, ...], direction_path: str | None, stat_path: str | None,
            outdir: str | None, batch: int, **numbers: Any) -> int:
    """Edit faces by words with a global direction in the style space."""
    from jittor_ipl.commands.edit.faces import open_faces, open_generator
    from jittor_ipl.editing.fast import is_step
    from jittor_ipl.editing.results import edit_folder
    from jittor_ipl.editing.session import write_edit
    from jittor_ipl.weights.tuned import carried_over
    alphas, thresholds = numbers_of(offsets, "--direction-offset"), numbers_of(betas, "--beta-threshold")
    if any(beta < 0 for beta in thresholds or ()):
        raise UserError(f"--beta-threshold {betas}: a threshold is not negative")
    found = direction_path is not None and is_step(direction_path)
    if target is None and not found:
        raise UserError("the following arguments are required: --target")
    opened = open_generator(weights, style=style, source=source, truncation=truncation, **numbers)
    others = [open_generator(what) for what in also]
    faces = open_faces(opened, seeds, latent)
    edit = _by_words(opened, others, clips, (neutral, target, keep), direction_path, stat_path) if not found else \
        _found(opened, others, direction_path, target, keep or betas != "auto" or stat_path)
    shown = {opened.name: faces.generator}
    tuned = faces.generator is not opened.generator         # by the latents' own file: the others get what it changed
    for other in others:
        name = other.name if other.name not in shown else f"{other.name} {len(shown)}"
        shown[name] = carried_over(faces.generator, opened.generator, other.generator) if tuned else other.generator
    folder = edit_folder(outdir, "direction", target or Path(direction_path).stem)
    for line in write_edit(folder, edit, faces, shown, alphas, thresholds, batch):
        print(line)
    return 0


def _by_words(opened: OpenedGenerator, others: Sequence[OpenedGenerator], clips: Sequence[str],
              words: tuple[str, str, Sequence[str]], direction_path: str | None, stat_path: str | None) -> Edit:
    """Return the edit of words (neutral, target, those that are kept), looked up in a dictionary of directions."""
    from jittor_ipl.editing.dictionary import REMAKE, require_clips
    from jittor_ipl.editing.finding import default_clips, find
    from jittor_ipl.editing.session import Edit
    from jittor_ipl.editing.words import remarks, text_direction
    from jittor_ipl.weights.clip import load_clip
    from jittor_ipl.weights.generator import require_generator
    neutral, target, keep = words
    clips = default_clips(clips, opened.entry.plan.source)
    loaded = [load_clip(ref) for ref in clips]
    for remark in remarks(loaded, [neutral, target, *keep]):
        options.note(remark)
    text = text_direction(loaded, neutral, target)
    kept = [text_direction(loaded, neutral, one) for one in keep]
    dictionary, statistics = find([opened.generator, opened.source], clips, direction_path, stat_path)
    require_clips(dictionary, clips, loaded)
    for other in others if "generator_sha256" in dictionary.facts else ():
        require_generator(dictionary.facts["generator_sha256"], [other.source, other.generator], other.name, REMAKE)
    return Edit(dictionary, statistics, loaded, text, kept, neutral, target)


def _found(opened: OpenedGenerator, others: Sequence[OpenedGenerator], file: str, target: str | None,
           more: object) -> FoundEdit:
    """Return the edit of a file of `edit fast`; UserError where it is told what belongs to a dictionary."""
    from jittor_ipl.editing.fast import REMAKE, found_edit
    from jittor_ipl.weights.generator import require_generator
    edit = found_edit(file, [opened.generator, opened.source])
    if more:
        raise UserError(f"{file} is one direction: --beta-threshold, --keep and --stat-path choose in a dictionary")
    if target not in (None, edit.target):
        raise UserError(f"{file} was found for {edit.target!r}, not {target!r}: leave --target out, or find another "
                        "with edit fast")
    made_for = edit.dictionary.facts["generator_sha256"]
    for other in others:
        require_generator(made_for, [other.source, other.generator], other.name, REMAKE)
    return edit

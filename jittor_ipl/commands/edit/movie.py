"""`edit movie`: an edit, a walk between faces, or a generator turning into another, as a moving picture."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jittor_ipl.commands import options
from jittor_ipl.commands.edit.faces import OpenedGenerator, face_options, open_faces, open_generator, open_mapper
from jittor_ipl.errors import UserError

if TYPE_CHECKING:
    from jittor_ipl.editing.codes import Faces, Styles

EXAMPLES = """  python -m jittor_ipl edit movie --seeds 0-3 --output edits/walk.gif
  python -m jittor_ipl edit movie --seeds 0-3 --levels fine --output edits/colours.webp
  python -m jittor_ipl edit movie --seeds 0-3 --direction edits/fast-happy-face/happy-face.safetensors \\
      --from -2 --to 5
  python -m jittor_ipl edit movie --seeds 0-2 --through B_weight/demo/00 --through B_weight/demo/03"""
_EDIT = {"cls": options.Option, "heading": "an edit (else a walk from face to face)"}


@click.command(cls=options.Command, examples=EXAMPLES)
@face_options
@click.option("--direction", metavar="FILE", help="A direction that edit fast found: its strength changes.", **_EDIT)
@click.option("--mapper", "mapper_file", metavar="WHAT", help="A latent mapper: its strength changes.", **_EDIT)
@click.option("--from", "first", type=float, default=0.0, metavar="X", help="First strength.", **_EDIT)
@click.option("--to", "last", type=float, metavar="X",
              help="Last strength.  [default: 2 of a direction, 1 of a mapper]", **_EDIT)
@click.option("--through", multiple=True, type=options.shipped, metavar="WHAT",
              help="Turn the generator into this one, adapted from the same source; may be given again.")
@click.option("--levels", type=click.Choice(["all", "coarse", "medium", "fine"]), default="all",
              help="Of a walk: which layers of the first face change.")
@click.option("--frames", type=options.positive, default=24, metavar="N", help="Frames from one place to the next.")
@click.option("--fps", type=float, default=24.0, metavar="X", help="Frames a second.")
@click.option("--once", is_flag=True, help="End at the last place instead of going back to the first.")
@click.option("--side", type=options.positive, default=256, metavar="N",
              help="Enlarge smaller pictures to so many pixels.")
@click.option("--output", "--outfile", default="edits/movie.gif", metavar="FILE",
              help="Where to: .gif, .webp, .png, .mp4, .webm.")
def command(seeds: str | None, latent: str | None, direction: str | None, mapper_file: str | None, first: float,
            last: float | None, through: tuple[str, ...], levels: str, frames: int, fps: float, once: bool, side: int,
            output: str, **more: Any) -> int:
    """Make a movie of an edit, of a walk between faces, or between generators."""
    from jittor_ipl.disk.atomic import output_folder
    from jittor_ipl.editing import movie
    from jittor_ipl.images.movies import check_movie, enlarged, write_movie
    check_movie(output, fps)
    if sum(map(bool, (direction, mapper_file, through))) > 1:
        raise UserError("--direction, --mapper and --through are three movies: give one of them")
    opened = open_generator(**more)
    others = [open_generator(what) for what in through]
    faces = open_faces(opened, seeds, latent)
    edit = _edit(opened, faces, direction, mapper_file) if direction or mapper_file else None
    if edit is not None:
        edited, usual = edit
        drawn = movie.edit_frames(faces, edited, first, usual if last is None else last, frames)
    elif others:
        generators = [faces.generator, *(faces.shown_in(other.generator) for other in others)]
        drawn = movie.weight_frames(faces, generators, frames, not once)
    else:
        drawn = movie.walk_frames(faces, frames, levels, not once)
    shown = [next(drawn)]                       # faces that it cannot show are told before the folder is made
    output_folder(Path(output).parent)          # and a folder that cannot be made before the work
    shown += drawn
    if edit is not None and not once:
        shown = movie.there_and_back(shown)
    write_movie(output, [enlarged(frame, side) for frame in shown], fps)
    print(f"{len(shown)} frames, {len(shown) / fps:.1f} s -> {output}")
    return 0


def _edit(opened: OpenedGenerator, faces: Faces, direction: str | None,
          mapper_file: str | None) -> tuple[Callable[[float], Styles], float]:
    """Return what edits all faces with a strength, and its usual strength."""
    if direction:
        from jittor_ipl.editing.fast import STRENGTH, load_step
        deltas, _ = load_step(direction, [opened.generator, opened.source])
        return lambda alpha: tuple(code + alpha * delta for code, delta in zip(faces.styles, deltas)), STRENGTH
    from jittor_ipl.editing.latent_mapper import edit_faces
    from jittor_ipl.weights.latent_mapper import require_its_generator
    stored = open_mapper(str(mapper_file))
    require_its_generator(stored, [opened.generator, faces.generator])
    return lambda strength: edit_faces(faces, stored.mapper, strength)[1], 1.0

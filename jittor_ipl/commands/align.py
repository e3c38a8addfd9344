"""`align`: faces cut out of photographs as the generators' training pictures were."""
from __future__ import annotations

from pathlib import Path

import click

from jittor_ipl.commands import options
from jittor_ipl.commands.alignment import face_options
from jittor_ipl.errors import UserError

EXAMPLES = """  python -m jittor_ipl align photo.jpg --output aligned
  python -m jittor_ipl align photos --size 1024 --transform-size 4096
  python -m jittor_ipl align photo.jpg --eyes 203,101,246,104 --mouth 223,140
  python -m jittor_ipl align a.jpg b.jpg --landmarks landmarks.json"""
_RECORD = "aligned.json"


@click.command(cls=options.Command, examples=EXAMPLES)
@click.argument("pictures", nargs=-1, required=True, metavar="PICTURE|FOLDER...")
@click.option("--output", "--output-dir", "--outdir", default="aligned", metavar="DIR", help="Folder of the squares.")
@click.option("--size", "--output-size", type=options.positive, default=256, metavar="N", help="Their side in pixels.")
@click.option("--transform-size", type=options.positive, metavar="N",
              help="Side that is sampled and then reduced: 4096 made FFHQ's 1024.  [default: --size]")
@click.option("--no-padding", is_flag=True, help="Leave black what the square needs beyond the picture.")
@face_options
def command(pictures: tuple[str, ...], output: str, size: int, transform_size: int | None, no_padding: bool,
            landmarks: str | None, eyes: str | None, mouth: str | None, face: int, predictor: str | None) -> int:
    """Cut faces out of photographs, upright and of one size, as FFHQ's were."""
    from jittor_ipl.disk.atomic import output_folder, write_json
    from jittor_ipl.disk.names import SUFFIX
    from jittor_ipl.disk.small_files import read_json
    from jittor_ipl.images.files import save_png
    from jittor_ipl.inversion.align import aligned, check_sizes
    from jittor_ipl.inversion.inputs import picture_files
    from jittor_ipl.inversion.landmarks import given_landmarks
    check_sizes(size, transform_size)
    paths = picture_files(pictures)
    given = given_landmarks(landmarks, eyes, mouth, len(paths))
    folder, done, failed = None, {}, []
    for path in paths:
        try:
            one = aligned(path, size, transform_size=transform_size, landmarks=given, predictor=predictor, face=face,
                          padding=not no_padding)
        except UserError as error:
            if len(paths) == 1:
                raise
            failed.append(path.name)
            click.echo(f"error: {error}", err=True)
            continue
        folder = folder or output_folder(Path(output))
        save_png(folder / f"{path.stem}{SUFFIX}", one.pixels)
        done[path.name] = one.to_json()
        for remark in one.remarks:
            options.note(f"{path.name}: {remark}")
        print(f"{path} -> {folder / path.stem}{SUFFIX}")
    if folder is not None:
        record = folder / _RECORD
        write_json(record, (read_json(record, "record of alignments") if record.is_file() else {}) | done)
    if failed:
        raise UserError(f"{len(failed)} of {len(paths)} pictures were not aligned: {', '.join(failed[:8])}"
                        + (", ..." if len(failed) > 8 else ""))
    return 0

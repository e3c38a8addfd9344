"""`convert`: a weight file anew, in this project's names or another program's; a published list of seeds as ours."""
from __future__ import annotations

import sys
from pathlib import Path

import click

from jittor_ipl.commands import options
from jittor_ipl.errors import UserError

EXAMPLES = """  python -m jittor_ipl convert stylegan2-ffhq-config-f.pt --to weights
  python -m jittor_ipl convert ffhq.pkl --to weights --as rosinality --format pt
  python -m jittor_ipl convert lora.safetensors --to weights --as kohya-lora --dtype float16
  python -m jittor_ipl convert seed_img.json --to seeds      # then: run_all.py --seeds seeds/seeds.json"""


@click.command(cls=options.Command, examples=EXAMPLES)
@click.argument("path", metavar="FILE|FOLDER")
@click.option("--to", "folder", required=True, metavar="DIR", help="Folder of the new files, made when missing.")
@click.option("--as", "dialect", default="ours", metavar="DIALECT",
              help="Whose names: ours, rosinality, ipl, openai, huggingface, diffusers-lora, kohya-lora.")
@click.option("--format", "file_format", type=click.Choice(["safetensors", "pt"]), default="safetensors",
              help="File format.")
@click.option("--dtype", type=click.Choice(["float32", "float16", "bfloat16"]),
              help="Type of the floating-point tensors.  [default: as they are, bfloat16 as float32]")
@options.container
@click.option("--name", metavar="NAME", help="Name of the new file without ending.  [default: the source's]")
@click.option("--overwrite", is_flag=True, help="Replace a file of that name.")
def command(path: str, folder: str, dialect: str, file_format: str, dtype: str | None, container: str | None,
            name: str | None, overwrite: bool) -> int:
    """Write a weight file anew, in the names of this project or another. 1 when a network was refused.

    A list of seeds of the Jittor competition (.txt or .json) becomes seeds.json for run_all.py --seeds.
    """
    if Path(path).suffix.lower() in (".txt", ".json") and not path.endswith(".index.json"):
        return _seed_list(Path(path), Path(folder) / f"{name or 'seeds'}.json", overwrite)
    from jittor_ipl.weights.convert import Options, Refused, convert
    refused = False
    for done in convert(path, folder, Options(dialect, file_format, dtype, name, overwrite, container)):
        if isinstance(done, Refused):
            refused = True
            click.echo(f"not converted: {done.label}: {done.reason}", err=True)
            continue
        layout = f"{done.layout.kind} ({done.layout.dialect})"
        print(f"{layout} -> {done.path}: {done.tensors} tensors, SHA-256 {done.sha256}")
        if done.left_out:
            shown = ", ".join(ascii(tensor)[1:-1] for tensor in done.left_out[:12])
            print(f"  not converted: {shown}{', ...' if len(done.left_out) > 12 else ''}")
        sys.stdout.flush()
    return int(refused)


def _seed_list(path: Path, target: Path, overwrite: bool) -> int:
    from jittor_ipl.disk.atomic import output_folder, write_bytes
    from jittor_ipl.submission.seed_lists import read_seed_list, seed_list_bytes
    found = read_seed_list(path)
    if target.exists() and not overwrite:
        raise UserError(f"{target} exists: give --overwrite, or another --name")
    output_folder(target.parent)
    write_bytes(target, seed_list_bytes(found))
    print(f"seeds of {sum(map(len, found.values()))} pictures in {len(found)} styles -> {target}")
    return 0

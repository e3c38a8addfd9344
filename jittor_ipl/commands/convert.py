"""`convert`: a weight file anew, in this project's names or another program's; a published list of seeds as ours."""
from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jittor_ipl.commands import options
from jittor_ipl.errors import UserError

if TYPE_CHECKING:
    from jittor_ipl.weights.convert import Options
    from jittor_ipl.weights.lora import Lora

EXAMPLES = """  python -m jittor_ipl convert stylegan2-ffhq-config-f.pt --to weights
  python -m jittor_ipl convert ffhq.pkl --to weights --as rosinality --format pt
  python -m jittor_ipl convert lora.safetensors --to weights --as kohya-lora --dtype float16
  python -m jittor_ipl convert a.safetensors --weight 0.7 --add b.safetensors=0.3 --to weights --name both
  python -m jittor_ipl convert seed_img.json --to data/seeds     # then: run_all.py --seeds data/seeds/seeds.json"""


@click.command(cls=options.Command, examples=EXAMPLES)
@click.argument("path", metavar="FILE|FOLDER")
@click.option("--to", "folder", required=True, metavar="DIR", help="Folder of the new files, made when missing.")
@click.option("--as", "dialect", default="ours", metavar="DIALECT",
              help="Whose names: ours, rosinality, ipl, openai, huggingface, diffusers-lora, kohya-lora, peft-lora.")
@click.option("--format", "file_format", type=click.Choice(["safetensors", "pt"]), default="safetensors",
              help="File format.")
@click.option("--dtype", type=click.Choice(["float32", "float16", "bfloat16"]),
              help="Type of the floating-point tensors.  [default: as they are, bfloat16 as float32]")
@options.container
@click.option("--name", metavar="NAME", help="Name of the new file without ending.  [default: the source's]")
@click.option("--overwrite", is_flag=True, help="Replace a file of that name.")
@click.option("--weight", type=float, metavar="W", help="Multiply what a LoRA changes.  [default: 1]")
@click.option("--add", "others", multiple=True, metavar="FILE=W", help="Add another LoRA, times W; may be given again.")
def command(path: str, folder: str, dialect: str, file_format: str, dtype: str | None, container: str | None,
            name: str | None, overwrite: bool, weight: float | None, others: tuple[str, ...]) -> int:
    """Write a weight file anew, in the names of this project or another. 1 when a network was refused.

    A list of seeds of the Jittor competition (.txt or .json) becomes seeds.json for run_all.py --seeds.
    """
    if Path(path).suffix.lower() in (".txt", ".json") and not path.endswith(".index.json"):
        return _seed_list(Path(path), Path(folder) / f"{name or 'seeds'}.json", overwrite)
    from jittor_ipl.weights.convert import PEFT, Options
    if weight is None and not others and dialect != PEFT:
        return _convert(path, folder, Options(dialect, file_format, dtype, name, overwrite, container))
    if container:
        raise UserError(f"--container is not for LoRA that are added or written for peft: write {path}#{container}")
    name, (lora, metadata) = name or Path(path).stem, _summed(path, 1.0 if weight is None else weight, others)
    if dialect == PEFT:
        if dtype or file_format != "safetensors":
            raise UserError("peft's folders hold safetensors of the LoRA's own types: leave --format and --dtype out")
        return _as_peft(Path(folder) / name, lora, metadata, overwrite)
    from jittor_ipl.weights.lora import write_lora
    with tempfile.TemporaryDirectory() as between:
        write_lora(Path(between) / "sum.safetensors", lora, metadata)
        return _convert(f"{between}/sum.safetensors", folder, Options(dialect, file_format, dtype, name, overwrite))


def _convert(path: str, folder: str, how: Options) -> int:
    from jittor_ipl.weights.convert import Refused, convert
    refused = False
    for done in convert(path, folder, how):
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


def _summed(path: str, weight: float, others: tuple[str, ...]) -> tuple[Lora, dict[str, str]]:
    """Return one LoRA of several, and the metadata that name its base model; UserError for a FILE=W that is none."""
    from jittor_ipl.weights.lora import read_sum
    if not math.isfinite(weight):
        raise UserError(f"--weight {weight} is no finite number")
    parts = [(path, weight)]
    for other in others:
        file, _, number = other.rpartition("=")
        try:
            parts.append((file, float(number)))
        except ValueError:
            file = ""
        if not file or not math.isfinite(parts[-1][1]):
            raise UserError(f"--add {other!r} is not of the form FILE=W, such as style.safetensors=0.5")
    return read_sum(parts)


def _as_peft(folder: Path, lora: Lora, metadata: dict[str, str], overwrite: bool) -> int:
    from jittor_ipl.disk.names import safe_name
    from jittor_ipl.weights.lora import write_peft_lora
    safe_name(folder.name, "name of the folder")
    if folder.exists() and not overwrite:
        raise UserError(f"{str(folder)!r} exists; give --overwrite to replace it, or --name for another name")
    for written in write_peft_lora(folder, lora, metadata):
        print(f"lora (peft) -> {written}")
    return 0

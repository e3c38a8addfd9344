"""`convert`: a weight file anew, in this project's names or another program's."""
from __future__ import annotations

import sys

import click

from jittor_ipl.commands import options

EXAMPLES = """  python -m jittor_ipl convert stylegan2-ffhq-config-f.pt --to weights
  python -m jittor_ipl convert ffhq.pkl --to weights --as rosinality --format pt
  python -m jittor_ipl convert lora.safetensors --to weights --as kohya-lora --dtype float16"""


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
    """Write a weight file anew, in the names of this project or another. 1 when a network was refused."""
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

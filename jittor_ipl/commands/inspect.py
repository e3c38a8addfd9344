"""`inspect`: what a weight file or folder is, as text for a terminal: short by default, every key with --all."""
from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import groupby
from typing import TYPE_CHECKING

import click

from jittor_ipl.commands import options
from jittor_ipl.errors import UserError, nearest

if TYPE_CHECKING:
    from jittor_ipl.weights.inspect import Inspection, NetworkReport, TensorEntry

EXAMPLES = """  python -m jittor_ipl inspect stylegan2-ffhq-config-f.pt
  python -m jittor_ipl inspect clip-vit-base-patch32/ --keys "visual*" --all
  python -m jittor_ipl inspect demo:generator --json"""
_LINES, _PROBLEMS = 24, 20
_FORMATS = {"torch-zip": "PyTorch zip archive", "torch-legacy": "PyTorch legacy stream", "npy": "NumPy array",
            "torchscript": "TorchScript archive", "pickle": "plain pickle",
            "jittor-pickle": "pickle with Jittor's checksum"}


@click.command(cls=options.Command, examples=EXAMPLES)
@click.argument("path", metavar="FILE|FOLDER")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the text.")
@click.option("--all", "every", is_flag=True, help="Print every tensor and every problem.")
@click.option("--keys", metavar="PATTERN", help="List the tensors whose names match, such as '*.weight'.")
@options.container
def command(path: str, as_json: bool, every: bool, keys: str | None, container: str | None) -> int:
    """Say what a weight file, a folder of networks or demo:<name> is, and what is wrong with it."""
    from jittor_ipl.weights.inspect import inspect
    inspection = inspect(path, container)
    print(json.dumps(inspection.to_dict(), indent=2) if as_json else render(inspection, every=every, keys=keys))
    sys.stdout.flush()
    for report in inspection.networks:
        if report.error:
            click.echo(f"error: {report.error}", err=True)
    return inspection.exit_code


def render(inspection: Inspection, *, every: bool = False, keys: str | None = None) -> str:
    """Return the lines to print; `keys`, such as "*.weight", limits the listed tensors: UserError when none matches."""
    names = [entry.name for report in inspection.networks for entry in report.tensors]
    if keys is not None and names and not any(fnmatchcase(name, keys) for name in names):
        raise UserError(f"--keys {keys!r} matches none of {len(names)} tensors{nearest(keys, names)}; "
                        "write it like '*.weight'")
    blocks = [_network(report, inspection.path, every, keys) for report in inspection.networks]
    if manifest := inspection.manifest:
        problems = manifest.problems
        state = f"{len(problems)} problems" if problems else f"{manifest.files} files as recorded"
        blocks.insert(0, [inspection.path, *_listed("folder", f"{manifest.kind}, {manifest.about}"),
                          *_listed("manifest", state), *_listed("problems", problems)])
    return "\n\n".join("\n".join(lines) for lines in blocks)


def _network(report: NetworkReport, path: str, every: bool, keys: str | None) -> list[str]:
    title = f"{path}: {report.label}" if report.label else path
    files = [f"{file['name']}, {size(file['bytes'])}" + (f", SHA-256 {file['sha256']}" if file["sha256"] else "")
             for file in report.files]
    lines = [title, *_listed("file", files)]
    if report.error:
        return [*lines, *_listed("unreadable", report.error), *_listed("asks for", report.refused_globals)]
    config = ", ".join(f"{key} {value}" for key, value in report.config.items())
    place = f", network under {report.container!r}" if report.container else ""
    names = ", this project's own file" if report.dialect == "ours" else f" in the names of {report.dialect}"
    dtypes = ", ".join(f"{count} {dtype}" for dtype, count in report.dtypes.items())
    totals = f"{len(report.tensors)}, {report.parameters:,} parameters, {size(report.bytes)} ({dtypes})"
    few = report.problems if every or len(report.problems) <= _PROBLEMS else \
        [*report.problems[:_PROBLEMS], f"... and {len(report.problems) - _PROBLEMS} more (--all shows them)"]
    return [*lines,
            *_listed("format", _FORMATS.get(report.format, report.format) + place),
            *_listed("network", report.kind + names if report.dialect else report.kind or "unknown"),
            *_listed("config", _cut(config)),
            *_listed("tensors", totals if report.files else ""),
            *_listed("beside it", ", ".join(f"{name} {list(shape)}" for name, shape in report.beside.items())),
            *_listed("options", _cut(", ".join(f"{name}={value}" for name, value in report.values.items()), every)),
            *_listed("not read", _cut(", ".join(report.not_read), every)),
            *_listed("metadata", [f"{key}: {text}" for key, text in report.metadata.items() if key != "config"]),
            *_listed("keys", list(_keys(report.tensors, every, keys))),
            *_listed("problems", few or ["none"]),
            *_listed("assumed", report.remarks),
            *_listed("next", report.next_step)]


def _keys(tensors: list[TensorEntry], every: bool, pattern: str | None) -> Iterator[str]:
    """Yield a line per tensor, or per run of layers that differ in their numbers only."""
    chosen = [entry for entry in tensors if pattern is None or fnmatchcase(entry.name, pattern)]
    rows = [(e.name, str(list(e.shape)), e.dtype) for e in chosen] if every or pattern else _grouped(chosen)
    shown = rows if every else rows[:_LINES]
    width = max((len(name) for name, *_ in shown), default=0)
    yield from (f"{name:<{min(width, 72)}}  {shape}  {dtype}" for name, shape, dtype in shown)
    if len(rows) > len(shown):
        yield f"... and {len(rows) - len(shown)} more lines (--all shows every tensor)"


def _grouped(tensors: list[TensorEntry]) -> list[tuple[str, str, str]]:
    groups: dict[str, list[TensorEntry]] = {}
    for entry in tensors:
        groups.setdefault(re.sub(r"(?<![A-Za-z])\d+", "#", entry.name), []).append(entry)
    rows = []
    for template, entries in groups.items():
        shapes = [str(shape) for shape, _ in groupby(list(entry.shape) for entry in entries)]
        dtypes = "/".join(dict.fromkeys(entry.dtype for entry in entries))
        name = entries[0].name if len(entries) == 1 else f"{template}  x{len(entries)}"
        rows.append((name, shapes[0] if len(shapes) == 1 else f"{shapes[0]} .. {shapes[-1]}", dtypes))
    return rows


def _listed(name: str, texts: str | list[str]) -> list[str]:
    texts = [texts] if isinstance(texts, str) and texts else texts
    return [f"  {name if index == 0 else '':<10} {text}" for index, text in enumerate(texts)]


def _cut(text: str, every: bool = False) -> str:
    return text if every or len(text) <= 400 else text[:397] + "..."


def size(count: int) -> str:
    """Return a number of bytes for people: 12 bytes, 3.4 KiB, 5.6 MiB."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"

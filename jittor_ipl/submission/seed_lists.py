"""The published entries' lists of seeds, read into what `run_all.py --seeds` takes: {"00": {"Ring": 1724}}.

Two forms: text, a line `Ring, style00: 1724` for each picture, and JSON, {"0": [["Ring", 1724], ...]}.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jittor_ipl.disk.integrity import canonical
from jittor_ipl.disk.names import image_names
from jittor_ipl.disk.small_files import JSON_BYTES, read_json, read_lines
from jittor_ipl.errors import UserError
from jittor_ipl.runtime.streams import check_seed

_LINE = re.compile(r"(?P<name>.+), *style[ _-]?(?P<number>[0-9]{1,6}) *: *(?P<seed>[0-9]{1,12})")


def read_seed_list(path: Path) -> dict[str, dict[str, int]]:
    """Return the seeds by style number ("00") and picture's name; of a name that comes again the last one counts.

    The programs that wrote these lists append to them and replace the picture. Raises UserError, with the line or the
    key, for anything malformed, a seed over 2**32-1, and names that are no file names.
    """
    rows = _of_json(path) if path.suffix.lower() == ".json" else _of_text(path)
    found: dict[str, dict[str, int]] = {}
    for where, number, name, seed in rows:
        try:
            found.setdefault(f"{number:02d}", {})[name] = check_seed(seed)
        except UserError as error:
            raise UserError(f"{path}, {where}: {error}") from None
    if not found:
        raise UserError(f"{path} names no picture: expected lines such as 'Ring, style00: 1724'")
    for number, images in found.items():
        try:
            image_names(images)
        except UserError as error:
            raise UserError(f"{path}, style {number}: {error}") from None
    return dict(sorted(found.items()))


def seed_list_bytes(seeds: dict[str, dict[str, int]]) -> bytes:
    """Return the JSON text that `run_all.py --seeds` reads; equal bytes for equal seeds."""
    return canonical(seeds)


def _of_text(path: Path) -> Iterator[tuple[str, int, str, int]]:
    for line_number, line in enumerate(read_lines(path, "list of seeds", JSON_BYTES), 1):
        found = _LINE.fullmatch(line)
        if line and not found:
            raise UserError(f"{path}, line {line_number}: {ascii(line)[:80]} is not of the form 'Ring, style00: 1724'")
        if found:
            yield f"line {line_number}", int(found["number"]), found["name"], int(found["seed"])


def _of_json(path: Path) -> Iterator[tuple[str, int, str, int]]:
    for key, rows in read_json(path, "list of seeds").items():
        if not (key.isascii() and key.isdigit() and len(key) <= 6) or not isinstance(rows, list):
            raise UserError(f'{path}: {ascii(key)[:60]} is not of the form "0": [["Ring", 1724], ...]')
        yield from _pairs(path, key, rows)


def _pairs(path: Path, key: str, rows: Iterable[Any]) -> Iterator[tuple[str, int, str, int]]:
    for row in rows:
        if not isinstance(row, list) or len(row) != 2 or not isinstance(row[0], str):
            raise UserError(f'{path}, style {key}: {ascii(row)[:60]} is not of the form ["Ring", 1724]')
        yield f"style {key}", int(key), row[0], row[1]

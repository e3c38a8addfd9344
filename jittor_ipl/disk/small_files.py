"""The one reader of small files: whole, bounded, mistakes told in one line. `what` names the file in messages."""
from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from jittor_ipl.errors import UserError, nearest_file

TEXT_BYTES = 256 << 10      # a suite of 100 styles with overrides has a tenth of this
JSON_BYTES = 64 << 20


def require_file(path: str | Path, *, pipes: bool = False) -> None:
    """Raise OSError for a folder, a device, which may never end, and, without `pipes`, a pipe, which may never open."""
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or pipes and stat.S_ISFIFO(mode)):
        raise OSError(0, f"it is not a file but a {'folder' if stat.S_ISDIR(mode) else 'pipe or device'}")


def read_small(path: str | Path, what: str, limit: int, *, pipes: bool = False) -> bytes:
    """Return the bytes of a file; UserError when it is missing, cannot be read, or holds more than `limit` bytes."""
    try:
        require_file(path, pipes=pipes)
        with open(path, "rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:      # ValueError: a NUL in the name
        near = nearest_file(path) if isinstance(error, FileNotFoundError) else ""
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read the {what} {str(path)!r}: {reason}{near}") from None
    if len(data) > limit:
        size = f"{limit >> 20} MiB" if limit >= 1 << 20 else f"{limit >> 10} KiB"
        raise UserError(f"{str(path)!r} is larger than {size}: too large for a {what}")
    return data


def read_lines(path: str | Path, what: str, limit: int = TEXT_BYTES) -> list[str]:
    """Return the lines of a UTF-8 text without blanks at their ends; UserError as `read_small`, and for other text."""
    data = read_small(path, what, limit)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[:error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line} is not UTF-8 text: save the {what} as plain text in UTF-8") from None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [line.strip() for line in (lines[:-1] if lines[-1] == "" else lines)]


def read_json(path: str | Path, what: str, limit: int = JSON_BYTES) -> dict[str, Any]:
    """Return the JSON object in a file; UserError as in `read_small`, and for anything else."""
    return json_object(read_small(path, what, limit), path, what)


def json_object(data: bytes, path: str | Path, what: str) -> dict[str, Any]:
    """Return the JSON object that `data`, the content of `path`, is; UserError for anything else."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a valid {what}: not JSON: {str(error)[:100]}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is not a valid {what}: not a JSON object")
    return value

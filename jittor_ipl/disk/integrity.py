"""SHA-256 of files, and JSON records that carry their own: one changed bit is always noticed."""
from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jittor_ipl.disk.atomic import write_bytes
from jittor_ipl.errors import UserError, nearest_file

LARGEST_JSON = 64 << 20
_SEAL = "sha256"


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal; raises `UserError` when it cannot be read, or is no regular file."""
    digest = hashlib.sha256()
    try:
        _require_regular(path)
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()


def _require_regular(path: str | Path) -> None:
    """Refuse a pipe, which would never be opened, a device, which may never end, and a folder."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise UserError(f"cannot read {path}: it is not a file")


def canonical(content: Any) -> bytes:
    """Return the one JSON text of `content`: sorted keys, UTF-8, final newline. NaN and infinity raise `ValueError`."""
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_sealed(path: str | Path, content: Mapping[str, Any]) -> Path:
    """Write a JSON object in canonical form together with the SHA-256 of that form (key `sha256`); whole or not at all."""
    assert _SEAL not in content
    return write_bytes(path, canonical({**content, _SEAL: hashlib.sha256(canonical(content)).hexdigest()}))


def read_sealed(path: str | Path, kind: str) -> dict[str, Any]:
    """Read what `write_sealed` wrote, without the seal; `kind` names it in messages.

    Raises `UserError` when any byte differs from the canonical text, white space included, or the hash does not fit.
    """
    data = _bytes(Path(path), kind)
    content = _object(path, data, kind)
    seal = content.pop(_SEAL, None)
    if seal is None:
        raise UserError(f"{path} is not a valid {kind}: it does not carry its own SHA-256; make it again")
    if not _fits(content, seal, data):
        raise UserError(f"{path} is damaged or was edited: this {kind} does not have the SHA-256 that it carries")
    return content


def read_json(path: str | Path, kind: str) -> dict[str, Any]:
    """Read a JSON object; raises UserError when it is missing, over 64 MiB or no JSON object. `kind` names it in the message."""
    return _object(path, _bytes(Path(path), kind), kind)


def _fits(content: dict[str, Any], seal: Any, data: bytes) -> bool:
    try:
        return seal == hashlib.sha256(canonical(content)).hexdigest() and data == canonical({**content, _SEAL: seal})
    except (ValueError, RecursionError):  # what JSON reads but does not write: infinity, half characters
        return False


def _bytes(path: Path, kind: str) -> bytes:
    try:
        _require_regular(path)
        if path.stat().st_size > LARGEST_JSON:
            raise UserError(f"{path} is too large to be a {kind}")
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no {kind} at {path}{nearest_file(path)}") from None
    except OSError as error:
        raise UserError(f"cannot read the {kind} {path}: {error.strerror}") from error


def _object(path: str | Path, data: bytes, kind: str) -> dict[str, Any]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a valid {kind}: {str(error)[:100]}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} is not a valid {kind}: expected a JSON object")
    return content

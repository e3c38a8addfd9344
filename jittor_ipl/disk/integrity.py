"""SHA-256 of files, and JSON records that carry their own: one changed bit is always noticed."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jittor_ipl.disk.atomic import write_bytes
from jittor_ipl.disk.small_files import JSON_BYTES, json_object, read_small, require_file
from jittor_ipl.errors import UserError

_SEAL = "sha256"


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal; `UserError` when it is no file that can be read."""
    digest = hashlib.sha256()
    try:
        require_file(path)
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()


def files_sha256(files: Sequence[Path]) -> str:
    """Return the SHA-256 of one file, or the joint one of none or several; UserError when one is missing."""
    return joint_sha256([file_sha256(path) for path in files])


def joint_sha256(hashes: Sequence[str]) -> str:
    """Return the one SHA-256 that there is, or that of none or several."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def canonical(content: Any) -> bytes:
    """Return the one JSON text of `content`: sorted keys, UTF-8, final newline. NaN and infinity raise `ValueError`."""
    return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_sealed(path: str | Path, content: Mapping[str, Any]) -> Path:
    """Write a JSON object in canonical form, with the SHA-256 of that form (key `sha256`); whole or not at all."""
    return write_bytes(path, sealed(content))


def sealed(content: Mapping[str, Any]) -> bytes:
    """Return the text that `write_sealed` writes."""
    assert _SEAL not in content
    return canonical({**content, _SEAL: hashlib.sha256(canonical(content)).hexdigest()})


def read_sealed(path: str | Path, kind: str) -> dict[str, Any]:
    """Read what `write_sealed` wrote, without the seal; `kind` names it in messages.

    Raises `UserError` when any byte differs from the canonical text, white space included, or the hash does not fit.
    """
    return unsealed(read_small(path, kind, JSON_BYTES), path, kind)


def unsealed(data: bytes, path: str | Path, kind: str) -> dict[str, Any]:
    """Return what is in `data`, the text of `write_sealed` from `path`; raises as `read_sealed`."""
    content = json_object(data, path, kind)
    if content.pop(_SEAL, None) is None:
        raise UserError(f"{path} is not a valid {kind}: it does not carry its own SHA-256; make it again")
    with suppress(ValueError, RecursionError):  # what JSON reads but does not write: infinity, half characters
        if data == sealed(content):
            return content
    raise UserError(f"{path} is damaged or was edited: this {kind} does not have the SHA-256 that it carries")

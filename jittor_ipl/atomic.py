"""Files that appear whole or not at all: write beside the target, flush to disk, rename over it."""
from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jittor_ipl.errors import UserError

_ADVICE = {
    errno.ENOSPC: "free some space there or choose another folder",
    errno.EDQUOT: "free some space there or choose another folder",
    errno.EACCES: "make it writable or choose another folder",
    errno.EPERM: "make it writable or choose another folder",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.ENOTDIR: "a part of that path is a file: choose another folder",
    errno.EEXIST: "a file has that name: choose another folder",
    errno.EISDIR: "a folder has that name: choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
}


@contextmanager
def told_as_user_error(path: str | Path, action: str = "write") -> Iterator[None]:
    """Turn the `OSError`s that a user can mend (no space, no permission, ...) into a one-line `UserError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _ADVICE:
            raise
        raise UserError(f"cannot {action} {str(path)!r}: {error.strerror}; {_ADVICE[error.errno]}") from error


def make_folder(path: str | Path) -> Path:
    """Create a folder with its parents; `UserError` when that is not possible."""
    path = Path(path)
    with told_as_user_error(path, "create the folder"):
        path.mkdir(parents=True, exist_ok=True)
    return path


def sync_folder(path: str | Path) -> None:
    """Flush a folder's list of names to disk, so that a rename in it survives a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def staged(path: str | Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` when the block ends well, remove it when it fails.

    The folder is created when missing. Raises `UserError` when the place cannot be written or is full.
    """
    path = Path(path)
    make_folder(path.parent)
    # Not made from the target's own name, which may already have the longest length a file system allows.
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    with told_as_user_error(path):
        try:
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write `data` to `path` as a whole; `UserError` when the place cannot be written or is full."""
    with staged(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as readable JSON with a final newline; NaN and infinity are refused (`ValueError`)."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return write_bytes(path, (text + "\n").encode())

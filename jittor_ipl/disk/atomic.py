"""Files and folders that appear whole or not at all: write beside the target, flush to disk, rename over it."""
from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jittor_ipl.errors import UserError

_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space there or choose another folder"),
    errno.EFBIG: "this system allows no file of that size (ulimit -f): raise the limit or choose another folder",
    **dict.fromkeys((errno.EACCES, errno.EPERM), "make it writable or choose another folder"),
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.EIO: "the disk is failing: choose a folder on another one",
    errno.ENOTDIR: "a part of that path is a file: choose another folder",
    errno.EEXIST: "a file has that name: choose another folder",
    errno.EISDIR: "a folder has that name: choose another name",
    errno.ENOENT: "nothing can be created there: choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp")
_SLACK = 8 << 20  # bytes kept free beside what is written: headers, manifests, the log


@contextmanager
def as_user_error(path: str | Path, action: str = "write") -> Iterator[None]:
    """Turn the `OSError`s that a user can mend (no space, no permission, ...) into a one-line `UserError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _ADVICE:
            raise
        raise UserError(f"cannot {action} {str(path)!r}: {error.strerror}; {_ADVICE[error.errno]}") from error


def make_folder(path: str | Path) -> Path:
    """Create a folder with its parents, each flushed to disk; `UserError` when that is not possible."""
    path = Path(path)
    with as_user_error(path, "create the folder"):
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync_folder(folder.parent)
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
    """Give a temporary file beside `path`; rename it to `path` when the block ends well, remove it when it fails.

    The folder is created when missing. Raises `UserError` when the place cannot be written or is full. A killed process
    leaves the temporary file; `sweep` knows it by its name and by nobody holding its lock.
    """
    path = Path(path)
    make_folder(path.parent)
    # Not made from the target's own name, which may already have the longest length a file system allows.
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    with as_user_error(path):
        lock = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        try:
            with suppress(OSError):     # a file system without locks: then nothing is swept there either
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)
            os.close(lock)


def sweep(folder: str | Path) -> int:
    """Remove the temporary files that killed processes left in `folder`; return how many. A living writer's stay."""
    folder, swept = Path(folder), 0
    for path in [entry for entry in folder.iterdir() if _TEMPORARY.fullmatch(entry.name)] if folder.is_dir() else ():
        with suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                swept += 1
            finally:
                os.close(handle)
    return swept


def output_folder(path: Path) -> Path:
    """Make `path`, clear what killed processes left, and prove that files can be written there; UserError where not."""
    make_folder(path)
    sweep(path)
    with as_user_error(path), tempfile.TemporaryFile(dir=path):
        pass
    return path


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write `data` to `path` as a whole; `UserError` when the place cannot be written or is full."""
    with staged(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def write_json(path: str | Path, value: Any) -> Path:
    """Write `value` as readable JSON with a final newline; NaN and infinity are refused (`ValueError`)."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return write_bytes(path, (text + "\n").encode())


def check_space(folder: str | Path, needed: int) -> None:
    """Raise `UserError` when the disk of `folder` has fewer than `needed` bytes (and a little) free."""
    free = shutil.disk_usage(folder).free
    if free < needed + _SLACK:
        raise UserError(f"{str(folder)!r} has {free / 2**20:.0f} MiB free, {(needed + _SLACK) / 2**20:.0f} MiB are "
                        "needed: free some space there or choose another output folder")


def remove_tree(path: Path) -> None:
    """Remove a file or a folder with all in it; nothing happens when it is not there. `UserError` when not allowed."""
    with as_user_error(path, "remove"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def replace_folder(new: Path, target: Path) -> None:
    """Put the folder `new` (beside `target`, its files already flushed) in `target`'s place; the old one is removed.

    One system call exchanges the two, so that a reader finds the old or the new one at every moment. Where the file
    system cannot do that, the old one is moved aside first, and `recover_folder` brings it back after a kill.
    """
    for folder in (path for path in (*new.rglob("*"), new) if path.is_dir()):
        sync_folder(folder)
    if not target.exists():
        os.rename(new, target)
    elif not _exchanged(new, target):
        aside = _aside(target)
        os.rename(target, aside)
        os.rename(new, target)
        new = aside
    sync_folder(target.parent)
    shutil.rmtree(new, ignore_errors=True)


def recover_folder(target: Path) -> None:
    """Undo a `replace_folder` that was killed between its two renames; remove what a finished one left aside."""
    aside = _aside(target)
    if not aside.is_dir():
        return
    if target.exists():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        os.rename(aside, target)
        sync_folder(target.parent)


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.before")


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names in one step where the system can."""
    at_fdcwd, exchange = -100, 2        # AT_FDCWD, RENAME_EXCHANGE of renameat2(2)
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    return renameat2 is not None and \
        renameat2(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other), exchange) == 0

"""One writer per output folder."""
from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jittor_ipl.disk.atomic import as_user_error, make_folder
from jittor_ipl.errors import UserError

NAME = ".lock"
# A forked child that outlives its parent would hold the parent's lock: every child lets go of it at once.
_locks: set[int] = set()


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold the one lock on an output folder; `UserError`, naming the holder, when another process has it.

    The system drops the lock when the process ends, however it ends: a `.lock` file that a killed process left blocks
    nobody. The folder is created when missing.
    """
    folder = make_folder(folder)
    with as_user_error(folder, "write in"):
        handle = _acquired(folder)
    _locks.add(handle)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        # Unlinked while still held: whoever opened it meanwhile sees in `_acquired` that it is not the lock any more.
        (folder / NAME).unlink(missing_ok=True)
        _locks.discard(handle)
        os.close(handle)


def _acquired(folder: Path) -> int:
    path = folder / NAME
    while True:
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except BlockingIOError:
            holder = os.pread(handle, 300, 0).decode("utf-8", "replace").strip() or "unknown"
            os.close(handle)
            raise UserError(f"another process ({holder}) is working in {str(folder)!r}: "
                            "wait for it or choose another output folder") from None
        except FileNotFoundError:  # removed between the two looks
            pass
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _close_locks() -> None:
    for handle in _locks:
        os.close(handle)
    _locks.clear()


os.register_at_fork(after_in_child=_close_locks)

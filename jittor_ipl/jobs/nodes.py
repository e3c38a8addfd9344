"""One task on a node: inputs out of the store, work in an empty folder, outputs into the store, one record that counts.

Nothing of the node's disk is shared. A task may be done twice, by a node that was believed dead and by its successor;
the record of its key (`commits/<key>.json`) is written once, so that one of the two is the result. What a killed
attempt stored is named by no record.
"""
from __future__ import annotations

import os
import socket
import tempfile
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from jittor_ipl.disk.atomic import make_folder
from jittor_ipl.disk.integrity import file_sha256
from jittor_ipl.disk.lock import NAME as LOCK
from jittor_ipl.disk.objects import ObjectStore, StoreError
from jittor_ipl.errors import UserError, in_brief
from jittor_ipl.jobs.engine import Function, NodeTask
from jittor_ipl.jobs.signals import Interrupted
from jittor_ipl.jobs.workers import Worker, WorkerDied

CACHE_BYTES = 32 << 30      # of inputs that a node keeps for its next tasks; the longest unused go first


@dataclass(frozen=True)
class Attempt:
    """How one try of a task ended, on which node: with its record, or with an error, which another try may mend."""

    node: str
    record: Mapping[str, Any] | None = None
    error: str = ""
    final: bool = False


def standing(store: ObjectStore, key: str) -> dict[str, Any] | None:
    """Return the record of a key when there is one and everything that it names is in the store."""
    record = store.record(f"commits/{key}")
    whole = record is not None and all(store.has(file["sha256"], file["size"]) for file in record["files"].values())
    return record if whole else None


def attempt(store: ObjectStore, function: Function, task: NodeTask, inputs: Mapping[str, str],
            environment: Mapping[str, str], log_name: str) -> Attempt:
    """Do a task here and store what it made; `inputs` are the hashes of its files by their names. Raises nothing.

    The function runs in a process of its own, so that its threads, its variables and its death are its own; what it
    prints is stored as `log_name`.
    """
    node, started = f"{socket.gethostname()}:{os.getpid()}", time.monotonic()
    try:
        if (record := standing(store, task.key)) is not None:
            return Attempt(node, record)
        with tempfile.TemporaryDirectory(prefix="jittor_ipl-task-") as name:
            folder, log = Path(name, "work"), Path(name, "log.txt")
            folder.mkdir()
            for place, digest in inputs.items():
                _provide(store, digest, folder / checked_name(place))
            worker = Worker(_InFolder(function, folder, log), environment)
            try:
                value = worker.ask(task.request)
            finally:
                worker.stop()
                with suppress(StoreError, OSError):     # the log is of no use where the work is lost for want of it
                    store.write_record(log_name, {"node": node, "text": log.read_text(errors="replace")})
            content = {"name": task.name, "value": value, "files": _stored(store, folder, task),
                       "seconds": round(time.monotonic() - started, 2), "node": node}
            return Attempt(node, store.first_record(f"commits/{task.key}", content))
    except (StoreError, WorkerDied, Interrupted) as error:
        return Attempt(node, error=in_brief(error))
    except UserError as error:
        return Attempt(node, error=str(error), final=True)
    except Exception as error:  # noqa: BLE001 - told by the driver, with its traceback in the log
        return Attempt(node, error=f"{type(error).__name__}: {in_brief(error)}")


def collect(store: ObjectStore, record: Mapping[str, Any], task: NodeTask) -> None:
    """Bring the files of a task's record to the folders of its outputs; those that are here already stay.

    UserError for a record that names files outside the task's outputs.
    """
    for name, file in record["files"].items():
        path = checked_name(name)
        output = next((output for output in task.outputs if path.is_relative_to(output)), None)
        if output is None:
            raise UserError(f"the record of {task.name} names {name!r}, which is none of its results: remove "
                            f"commits/{task.key}.json from {store.url}")
        here = Path(task.outputs[output], path.relative_to(output))
        if not (here.is_file() and here.stat().st_size == file["size"] and file_sha256(here) == file["sha256"]):
            store.get(file["sha256"], here)


def checked_name(name: str) -> PurePosixPath:
    """Return a relative path that stays below its folder; UserError for any other."""
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\0" in name:
        raise UserError(f"{name!r} is no path below the working folder: on a cluster files are named relative to where "
                        "the command stands")
    return path


class _InFolder:
    """Calls the function in a folder, with all that it prints in a file. For a process that does nothing else."""

    def __init__(self, function: Function, folder: Path, log: Path) -> None:
        self.function, self.folder, self.log = function, folder, log

    def __call__(self, request: Any) -> Any:
        handle = os.open(self.log, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.chdir(self.folder)
        try:
            return self.function(request)
        except Exception:
            traceback.print_exc()
            raise


def _stored(store: ObjectStore, folder: Path, task: NodeTask) -> dict[str, dict[str, Any]]:
    """Store a task's outputs; return their sizes and hashes by name."""
    passed_over = {*task.passed_over, LOCK}
    names = sorted(path.relative_to(folder).as_posix() for output in task.outputs
                   for path in (folder / output).rglob("*") if path.is_file())
    return {name: {"sha256": store.put(folder / name), "size": (folder / name).stat().st_size}
            for name in names if not passed_over & set(name.split("/"))}


def _provide(store: ObjectStore, digest: str, path: Path) -> None:
    """Put an input where the task looks for it, from this node's cache or through it; every use looks at its hash."""
    cache = make_folder(Path(tempfile.gettempdir(), f"jittor_ipl-inputs-{os.getuid()}"))
    cache.chmod(0o700)
    kept = cache / digest
    with suppress(OSError):
        os.utime(kept)
    if not kept.is_file() or file_sha256(kept) != digest:
        store.get(digest, kept)
        _shrink(cache, keep=kept)
    make_folder(path.parent)
    os.link(kept, path)         # stays when the cache lets go of it


def _shrink(cache: Path, keep: Path) -> None:
    """Remove what was used longest ago until the cache has its size."""
    files = []
    for path in cache.iterdir():
        with suppress(OSError):
            files.append((path.stat().st_mtime, path.stat().st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= CACHE_BYTES or path == keep:
            return
        path.unlink(missing_ok=True)
        total -= size

"""Checkpoints that are whole or absent, verified before anything older is removed, and a lock on the output folder."""
from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ipl.atomic import make_folder, sync_folder, told_as_user_error, write_json
from jittor_ipl.errors import UserError
from jittor_ipl.weights.tensors import read_safetensors, write_safetensors

MANIFEST = "manifest.json"
STATE = "state.json"
_NAME = re.compile(r"checkpoint-(\d{8})")
_STAGED = ".tmp-"
_SLACK = 8 << 20  # bytes kept free beside a checkpoint: headers, the manifest, the log


@dataclass(frozen=True)
class Checkpoint:
    """One verified checkpoint on disk."""

    step: int
    path: Path

    def tensors(self, group: str) -> dict[str, np.ndarray]:
        """Return the named tensors that were saved as `group`."""
        return read_safetensors(self.path / f"{group}.safetensors")[0]

    def state(self) -> dict[str, Any]:
        """Return the JSON values that were saved beside the tensors."""
        return json.loads((self.path / STATE).read_text(encoding="utf-8"))


class Checkpoints:
    """The checkpoints of one run: `folder/checkpoint-<step>/`, of which the newest `keep` stay.

    A checkpoint is staged in `folder/.tmp-<step>-<pid>/`, its manifest (size and SHA-256 of every file) is written last,
    everything is flushed to disk, and one rename makes it visible. Older ones go only after the new one verifies.
    """

    def __init__(self, folder: str | Path, keep: int = 2):
        assert keep >= 1
        self.folder, self.keep = Path(folder), keep

    def save(self, step: int, groups: Mapping[str, Mapping[str, np.ndarray]], state: Mapping[str, Any] | None = None) -> Path:
        """Write one checkpoint: each group of named tensors as a safetensors file, `state` as JSON.

        Raises `UserError` when the folder cannot be written or has too little space; then nothing changed.
        """
        make_folder(self.folder)
        self.clean()
        check_space(self.folder, sum(array.nbytes for group in groups.values() for array in group.values()))
        staging, target = self.folder / f"{_STAGED}{step}-{os.getpid()}", self.folder / f"checkpoint-{step:08d}"
        try:
            with told_as_user_error(self.folder, "write a checkpoint in"):
                staging.mkdir()
                self._fill(staging, step, groups, state or {})
                if target.exists():
                    _remove(target)
                os.rename(staging, target)
                sync_folder(self.folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        assert verified(target), f"{target} does not read back as written"
        self._rotate(step)
        return target

    def latest(self) -> Checkpoint | None:
        """Return the newest checkpoint whose every file has the recorded size and hash, or None."""
        return next((Checkpoint(step, path) for step, path in reversed(self._all()) if verified(path)), None)

    def clean(self) -> None:
        """Remove what a killed process left behind; only the holder of the run's lock may call this."""
        for leftover in self.folder.glob(f"{_STAGED}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _all(self) -> list[tuple[int, Path]]:
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        matches = ((_NAME.fullmatch(path.name), path) for path in found)
        return sorted((int(match[1]), path) for match, path in matches if match)

    def _fill(self, staging: Path, step: int, groups: Mapping[str, Mapping[str, np.ndarray]], state: Mapping[str, Any]) -> None:
        for name, tensors in groups.items():
            assert re.fullmatch(r"[a-z][a-z0-9_]*", name), name
            write_safetensors(staging / f"{name}.safetensors", tensors)
        write_json(staging / STATE, dict(state))
        files = {path.name: {"size": path.stat().st_size, "sha256": file_sha256(path)} for path in sorted(staging.iterdir())}
        write_json(staging / MANIFEST, {"format": 1, "step": step, "files": files})

    def _rotate(self, newest: int) -> None:
        """Keep the newest `keep` checkpoints. Later steps than `newest` are of a past that did not verify when it resumed."""
        steps = [step for step, _ in self._all() if step <= newest]
        kept = set(steps[-self.keep:])
        for step, path in self._all():
            if step not in kept:
                _remove(path)


def verified(path: Path) -> bool:
    """Return whether a checkpoint folder holds exactly the files of its manifest, each with its size and SHA-256."""
    try:
        files = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["files"]
        present = {entry.name for entry in path.iterdir()} - {MANIFEST}
        # Sizes first: a truncated checkpoint is found without hashing gigabytes.
        return present == set(files) \
            and all((path / name).stat().st_size == entry["size"] for name, entry in files.items()) \
            and all(file_sha256(path / name) == entry["sha256"] for name, entry in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing or malformed manifest
        return False


def check_space(folder: Path, needed: int) -> None:
    """Raise `UserError` when the disk of `folder` has fewer than `needed` bytes (and a little) free."""
    free = shutil.disk_usage(folder).free
    if free < needed + _SLACK:
        raise UserError(f"{str(folder)!r} has {free / 2**20:.0f} MiB free, {(needed + _SLACK) / 2**20:.0f} MiB are needed: "
                        "free some space there or choose another output folder")


@contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """Hold the one lock on an output folder; `UserError` when another process has it.

    The system drops the lock when the process ends, however it ends, so there is nothing stale to remove.
    """
    folder = make_folder(folder)
    with told_as_user_error(folder, "write in"):
        file = open(folder / ".lock", "a+", encoding="ascii")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(f"another process ({file.read(20).strip() or 'unknown'}) is working in {str(folder)!r}: "
                            "wait for it or choose another output folder") from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def file_sha256(path: str | Path) -> str:
    """Return the SHA-256 (hex) of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def remove_tree(path: Path) -> None:
    """Remove a file or a folder with all in it; nothing happens when it is not there. `UserError` when not allowed."""
    with told_as_user_error(path, "remove"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    """Remove a checkpoint so that a half-removed one is never taken for one: rename first."""
    gone = path.with_name(f"{_STAGED}gone-{path.name}-{os.getpid()}")
    os.rename(path, gone)
    shutil.rmtree(gone)

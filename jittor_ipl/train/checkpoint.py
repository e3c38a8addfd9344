"""Checkpoints that are whole or absent, and verified before anything older is removed."""
from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ipl.disk.atomic import as_user_error, check_space, make_folder, sync_folder, write_json
from jittor_ipl.disk.integrity import file_sha256, read_sealed, write_sealed
from jittor_ipl.disk.layout import MANIFEST
from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.safetensors import read_safetensors, write_safetensors

STATE = "state.json"
_NAME = re.compile(r"checkpoint-(\d{8})")
_STAGED = ".tmp-"
Groups = Mapping[str, Mapping[str, np.ndarray]]     # file name without suffix -> tensor name -> array


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

    A checkpoint is staged in `folder/.tmp-<step>-<pid>/`, its manifest (step; size and SHA-256 of every file; its own
    SHA-256) is written last, everything is flushed to disk, and one rename makes it visible. Older ones go only after
    the new one verifies. Nothing points at the newest one: it is found by looking at all of them.
    """

    def __init__(self, folder: str | Path, keep: int = 2):
        assert keep >= 1
        self.folder, self.keep = Path(folder), keep

    def save(self, step: int, groups: Groups, state: Mapping[str, Any] | None = None) -> Path:
        """Write one checkpoint: each group of named tensors as a safetensors file, `state` as JSON.

        Raises `UserError` when the folder cannot be written or has too little space (then nothing changed), and when
        the checkpoint does not read back as written (then the older ones stay).
        """
        make_folder(self.folder)
        self.clean()
        check_space(self.folder, sum(array.nbytes for group in groups.values() for array in group.values()))
        staging, target = self.folder / f"{_STAGED}{step}-{os.getpid()}", self.folder / f"checkpoint-{step:08d}"
        try:
            with as_user_error(self.folder, "write a checkpoint in"):
                staging.mkdir()
                for name, tensors in groups.items():
                    assert re.fullmatch(r"[a-z][a-z0-9_]*", name), name
                    write_safetensors(staging / f"{name}.safetensors", tensors)
                write_json(staging / STATE, dict(state or {}))
                files = {path.name: {"size": path.stat().st_size, "sha256": file_sha256(path)}
                         for path in sorted(staging.iterdir())}
                write_sealed(staging / MANIFEST, {"format": 2, "step": step, "files": files})
                if target.exists():  # one that did not verify when the run went on, or of another run
                    _remove(target)
                os.rename(staging, target)
                sync_folder(self.folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        if not verified(target):
            raise UserError(f"{target} does not read back as written, the older checkpoints were kept: "
                            "the disk is failing, choose a folder on another one")
        # Later steps than this one are of a past that did not verify.
        newest = [one for one, _ in self._all() if one <= step][-self.keep:]
        for one, path in self._all():
            if one not in newest:
                _remove(path)
        return target

    def latest(self, fits: Callable[[Checkpoint], bool] | None = None,
               warn: Callable[[str], object] | None = None) -> Checkpoint | None:
        """Return the newest checkpoint that verifies and `fits`, or None; `warn` gets a line for each damaged one."""
        for step, path in reversed(self._all()):
            if not verified(path):
                if warn is not None:
                    warn(f"{path} is damaged or incomplete: passed over")
            elif fits is None or fits(Checkpoint(step, path)):
                return Checkpoint(step, path)
        return None

    def clean(self) -> None:
        """Remove what a killed process left behind; only the holder of the run's lock may call this."""
        for leftover in self.folder.glob(f"{_STAGED}*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def _all(self) -> list[tuple[int, Path]]:
        found = self.folder.iterdir() if self.folder.is_dir() else ()
        matches = ((_NAME.fullmatch(path.name), path) for path in found)
        return sorted((int(match[1]), path) for match, path in matches if match)


def verified(path: Path) -> bool:
    """Return whether a checkpoint folder holds exactly the files of its manifest, each with its size and SHA-256.

    The manifest must carry its own SHA-256 and name the step that the folder's name tells.
    """
    try:
        manifest = read_sealed(path / MANIFEST, "manifest")
        files, name = manifest["files"], _NAME.fullmatch(path.name)
        present = {entry.name for entry in path.iterdir()} - {MANIFEST}
        # Sizes first: a truncated checkpoint is found without hashing gigabytes.
        return name is not None and manifest["step"] == int(name[1]) and present == set(files) \
            and all((path / name).stat().st_size == entry["size"] for name, entry in files.items()) \
            and all(file_sha256(path / name) == entry["sha256"] for name, entry in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # missing or malformed manifest
        return False


def _remove(path: Path) -> None:
    """Remove a checkpoint so that a half-removed one is never taken for one: rename first."""
    gone = path.with_name(f"{_STAGED}gone-{path.name}-{os.getpid()}")
    os.rename(path, gone)
    shutil.rmtree(gone)

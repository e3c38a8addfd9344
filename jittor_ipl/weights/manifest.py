"""The manifests of this project's own folders, checked: every file there with its recorded size and SHA-256."""
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jittor_ipl.disk.integrity import file_sha256, read_sealed
from jittor_ipl.disk.layout import MANIFEST, SEEDS
from jittor_ipl.disk.small_files import read_json
from jittor_ipl.errors import UserError

_MAX_FILES = 100_000
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass
class FolderManifest:
    """What a folder's manifest says: its `kind` is "checkpoint" or "released suite"; `problems` tells what differs."""

    kind: str
    about: str                      # the step or the suite's name
    files: int = 0
    problems: list[str] = field(default_factory=list)


def read_folder_manifest(path: Path) -> FolderManifest | None:
    """Return the checked manifest of a folder, or of the suite that holds this style's folder; None when there is none.

    A manifest that cannot be read is a problem in the result, not an error.
    """
    for folder, below in ((path, ""), (path.parent, f"{path.name}/")):
        if path.is_dir() and (folder / MANIFEST).is_file() and (not below or (folder / SEEDS).is_file()):
            return _checked(folder, below)
    return None


def _checked(folder: Path, below: str) -> FolderManifest | None:
    """Return the checked manifest, None when it is some other program's."""
    try:
        content = read_json(folder / MANIFEST, "manifest")
    except UserError as error:
        return FolderManifest("folder", "", problems=[str(error)])
    if "files" not in content or not {"step", "suite"} & set(content):
        return None
    kind, about = ("released suite", str(content.get("suite")))
    if "step" in content:
        kind, about = "checkpoint", f"step {content['step']}"
    found = FolderManifest(kind, about[:100])
    try:
        files = read_sealed(folder / MANIFEST, "manifest")["files"]
    except UserError as error:
        found.problems.append(str(error))
        return found
    if not isinstance(files, dict) or len(files) > _MAX_FILES:
        found.problems.append(f"{MANIFEST} lists no files")
        return found
    mine = {name: record for name, record in files.items() if name.startswith(below)}
    found.files = len(mine)
    found.problems += [problem for name, record in mine.items() if (problem := _compare(folder, name, record))]
    present = {str(file.relative_to(folder)) for file in (folder / below).rglob("*") if file.is_file()} - {MANIFEST}
    found.problems += [f"{name!r} is not in {MANIFEST}" for name in sorted(present - set(mine))]
    return found


def _compare(folder: Path, name: str, record: Any) -> str:
    """Return what is wrong with one listed file, an empty string when nothing is."""
    wanted = record.get("sha256") if isinstance(record, Mapping) else record
    if not isinstance(wanted, str) or not _SHA256.fullmatch(wanted):
        return f"{MANIFEST} has no SHA-256 for {ascii(name[:80])}"
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts or "\0" in name:
        return f"{MANIFEST} names {ascii(name[:80])}, which is outside the folder"
    file = folder / name
    if not file.is_file():
        return f"{name!r} is missing"
    size = record.get("size") if isinstance(record, Mapping) else None
    if size is not None and size != file.stat().st_size:
        return f"{name!r} has {file.stat().st_size} bytes, {MANIFEST} says {size}"
    return "" if file_sha256(file) == wanted else f"{name!r} is not the file that {MANIFEST} records (SHA-256 differs)"

"""The SHA-256 of weight files and picture folders, which reports name; imports no Jittor."""
from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from jittor_ipl.disk.integrity import file_sha256
from jittor_ipl.weights.refs import locate


def weights_sha256(refs: "Sequence[str | os.PathLike]") -> str:
    """Return the SHA-256 of the file at `refs`; of several files, or of a folder's, that of their names and hashes."""
    paths = [locate(ref) for ref in refs]
    return files_sha256(file for path in paths
                        for file in (sorted(filter(Path.is_file, path.rglob("*"))) if path.is_dir() else [path]))


def files_sha256(files: Iterable[Path]) -> str:
    """Return the SHA-256 of a file, or that of the names and hashes of several; remembered while none changes."""
    return _remembered(tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files))


@cache
def _remembered(files: tuple[tuple[str, int, int], ...]) -> str:
    if len(files) == 1:
        return file_sha256(files[0][0])
    lines = "".join(f"{file_sha256(name)}  {Path(name).name}\n" for name, *_ in files)
    return hashlib.sha256(lines.encode()).hexdigest()

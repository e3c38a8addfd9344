"""The SHA-256 of weight files, which reports name; imports no Jittor."""
from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from ..integrity import file_sha256
from ..weights.network import locate


def weights_sha256(refs: "Sequence[str | os.PathLike]") -> str:
    """Return the SHA-256 of the file at `refs`; of several files, or of a folder's, that of their names and hashes."""
    files = []
    for ref in refs:
        path = locate(ref)
        files += sorted(entry for entry in path.rglob("*") if entry.is_file()) if path.is_dir() else [path]
    if len(files) == 1:
        return file_sha256(files[0])
    return hashlib.sha256("".join(f"{file_sha256(file)}  {file.name}\n" for file in files).encode()).hexdigest()

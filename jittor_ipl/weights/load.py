"""Read any weight file by what it contains, never by its name."""
from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np

from .tensors import read_safetensors


@dataclass(frozen=True)
class FileInfo:
    """What a weight file was: its `format`, safetensors `metadata`, the `container` key its tensors lay under."""

    format: str
    metadata: dict[str, str] = field(default_factory=dict)
    container: str = ""
    extras: dict[str, np.ndarray] = field(default_factory=dict)


def read_tensors(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], FileInfo]:
    """Return the tensors of a weight file and what kind of file it was (first version: safetensors only)."""
    tensors, metadata = read_safetensors(path)
    return tensors, FileInfo("safetensors", metadata)

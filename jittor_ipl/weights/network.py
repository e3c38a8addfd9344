"""One network from a file or folder, in any known dialect, under our names: what every loader builds on."""
from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.read import FileInfo
from jittor_ipl.weights.families.family import Hints, Layout
from jittor_ipl.weights.families.registry import adopt, shapes_of
from jittor_ipl.weights.folder import Source, find_sources, read_source
from jittor_ipl.weights.refs import require_name, resolve


@dataclass(frozen=True)
class Network:
    """A network's tensors under our names, how its file was laid out, and what kind of file that was."""

    tensors: dict[str, np.ndarray]
    layout: Layout
    info: FileInfo


def read_network(ref: str | os.PathLike, *, kind: str | tuple[str, ...] = (), container: str | None = None) -> Network:
    """Read the one network at `ref` (a file, a folder or `demo:<name>`), strictly checked, under our names.

    `kind` (one or several) refuses every other kind of network. Raises UserError when there is none or more than one,
    when it is of another kind or says so itself, or when any tensor is missing, extra or mis-shaped.
    """
    path = locate(ref)
    sources = find_sources(path)
    if len(sources) > 1:
        labels = ", ".join(source.label for source in sources[:8])
        raise UserError(f"{path} holds several networks ({labels}); name one of them")
    tensors, info = read_source(sources[0], container)
    ours, layout = adopt(tensors, hints_of(sources[0], info), source=str(path), kind=kind, extras=info.extras)
    stated = info.metadata.get("kind", "").replace("_", "-")
    if kind and stated not in ("", layout.kind):
        raise UserError(f"{path}: its metadata calls it {stated[:40]!r}, its tensors are those of {layout.kind!r}")
    return Network(ours, layout, info)


def hints_of(source: Source, info: FileInfo) -> Hints:
    """Return what is known about a read file beside its tensors."""
    return Hints(info.format, info.container, info.metadata, source.config, shapes_of(info.extras), info.values,
                 source.path.name.split(".")[0], info.skipped)


def locate(ref: str | os.PathLike) -> Path:
    """Return the file or folder that `ref` names; raises UserError, with the nearest name, when there is none."""
    text = os.fspath(ref)
    path = require_name(text) if "\0" not in text else Path()
    return path if not text.startswith("demo:") and path.is_dir() else resolve(ref)

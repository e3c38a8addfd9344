"""StyleGAN2 generators from and to files, whole or as a delta of another generator."""
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.errors import UserError, nearest

from .delta import apply_delta, is_delta, save_delta
from .load import read_tensors
from .refs import resolve
from .strict import numpy_tensors
from .tensors import write_safetensors

if TYPE_CHECKING:
    from jittor_ipl.models.stylegan2 import Generator

_LANDMARKS = ("input.input", "style.1.weight", "conv1.conv.weight", "to_rgb1.conv.weight")


def load_generator(ref: str | os.PathLike, *, size: int | None = None,
                   source: "Generator | None" = None) -> "Generator":
    """Build the StyleGAN2 generator stored at `ref` (a path or `demo:<name>`), its numbers inferred from the shapes.

    Reads rosinality checkpoints (`g_ema` is taken), safetensors, and, when `source` is given, delta files of it.
    Raises UserError when the file holds no such generator, is damaged, or makes pictures of another `size`.
    """
    from jittor_ipl.models.stylegan2 import Generator
    path = resolve(ref)
    tensors, info = read_tensors(path)
    if is_delta(info.metadata):
        tensors = apply_delta(path, _source_tensors(source, path))
    config = stored_config(info.metadata, "stylegan2", str(path))
    require(_LANDMARKS, tensors, f"{path} is not a StyleGAN2 generator in rosinality's layout")
    generator = _build(Generator, tensors, config, str(path))
    if size not in (None, generator.size):
        raise UserError(f"{path} makes {generator.size} px pictures, {size} px were asked for")
    return generator


def save_generator(generator: "Generator", path: str | os.PathLike, metadata: Mapping[str, str] | None = None) -> None:
    """Write all tensors of `generator` under rosinality's keys, with its numbers in the metadata (`kind`, `config`)."""
    write_safetensors(path, numpy_tensors(generator), {**(metadata or {}), **_facts(generator)})


def save_generator_delta(generator: "Generator", source: "Generator", path: str | os.PathLike,
                         metadata: Mapping[str, str] | None = None, *, half: bool = False) -> None:
    """Write what `generator` changed against `source`; see `delta` for the encodings and their rounding."""
    facts = {"config": _facts(generator)["config"]}
    save_delta(path, numpy_tensors(generator), numpy_tensors(source), {**(metadata or {}), **facts}, half=half)


def stored_config(metadata: Mapping[str, str], kind: str, label: str) -> dict:
    """Return the constructor numbers in a file's metadata ({} when it has none); UserError for another kind of file."""
    found = metadata.get("kind", kind)
    if found not in (kind, "delta"):
        raise UserError(f"{label} holds a {found[:40]!r} network, a {kind!r} network is expected")
    try:
        config = json.loads(metadata.get("config", "{}"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{label}: the 'config' in its metadata is not JSON") from error
    if not isinstance(config, dict):
        raise UserError(f"{label}: the 'config' in its metadata is not a JSON object")
    return config


def require(names: tuple[str, ...], tensors: Mapping[str, np.ndarray], complaint: str) -> None:
    """Raise UserError (`complaint`, the first missing name and the nearest one there) unless all `names` are there."""
    for name in names:
        if name not in tensors:
            raise UserError(f"{complaint}: no tensor {name!r}{nearest(name, tensors)}")


def _facts(generator: "Generator") -> dict[str, str]:
    return {"kind": "stylegan2", "config": json.dumps(generator.config(), sort_keys=True)}


def _source_tensors(source: "Generator | None", path: os.PathLike) -> dict[str, np.ndarray]:
    if source is None:
        raise UserError(f"{path} is a delta file; name the source generator that it belongs to")
    return numpy_tensors(source)


def _build(cls: type, tensors: Mapping[str, np.ndarray], config: dict, label: str) -> "Generator":
    """Only the mapping's learning-rate multiplier leaves no trace in the shapes; files without it mean rosinality's."""
    lr_mlp = config.get("lr_mlp", 0.01)
    if isinstance(lr_mlp, bool) or not isinstance(lr_mlp, (int, float)) or not 0 < lr_mlp < 1e6:
        raise UserError(f"{label}: the stored lr_mlp is not a positive number")
    return cls.from_tensors(tensors, source=label, lr_mlp=float(lr_mlp))

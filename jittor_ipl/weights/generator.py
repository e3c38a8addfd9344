"""StyleGAN2 generators from and to files, whole or as a delta of another generator."""
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.errors import UserError, nearest
from jittor_ipl.models.strict import numpy_tensors
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.delta import apply_delta, save_delta
from jittor_ipl.weights.network import read_network
from jittor_ipl.weights.refs import resolve

if TYPE_CHECKING:
    from jittor_ipl.models.stylegan2.generator import Generator


def load_generator(ref: str | os.PathLike, *, size: int | None = None,
                   source: "Generator | None" = None) -> "Generator":
    """Build the StyleGAN2 generator stored at `ref` (a path or `demo:<name>`), its numbers inferred from the shapes.

    Reads every dialect of `families.stylegan2` (rosinality's and IPL's checkpoints, NVIDIA's pickles, PaddleGAN's files,
    our safetensors) and, when `source` is given, delta files of it. A mean w in the file (`latent_avg`, `w_avg`) becomes
    the generator's centre of truncation; a delta takes its source's while the mapping network is the source's too.
    Raises UserError when the file holds no such generator, is damaged, or makes pictures of another `size`.
    """
    from jittor_ipl.models.stylegan2.generator import Generator
    network = read_network(ref)
    stored = stored_config(network.info.metadata, "stylegan2", str(ref))
    if network.layout.kind == "delta":
        tensors = adapted_tensors(resolve(ref), _source_tensors(source, ref))
        generator = Generator.from_tensors(tensors, source=str(ref), **_unseen(stored, str(ref)))
    elif network.layout.kind == "stylegan2":
        generator = Generator.from_tensors(network.tensors, source=str(ref), **_unseen(network.layout.config, str(ref)))
    else:
        raise UserError(f"{ref} holds a {network.layout.kind!r} network, a StyleGAN2 generator is expected")
    if size not in (None, generator.size):
        raise UserError(f"{ref} makes {generator.size} px pictures, {size} px were asked for")
    return generator


def adapted_tensors(path: str | os.PathLike, source: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return all tensors of the generator that the delta file `path` describes relative to the tensors of its source.

    The source's `latent_avg` stays while the mapping network is the source's. Raises UserError as `delta.apply_delta`.
    """
    own = {name: array for name, array in source.items() if name != "latent_avg"}
    whole = apply_delta(path, own)
    moved = any(whole[name] is not own[name] for name in own if name.startswith("style."))
    return whole if moved or "latent_avg" not in source else {**whole, "latent_avg": source["latent_avg"]}


def keep_center(generator: "Generator", source: "Generator") -> None:
    """Give `generator` the centre of truncation of the `source` it was adapted from, or none when its w is another's."""
    mine, theirs = numpy_tensors(generator.style), numpy_tensors(source.style)
    same = all(np.array_equal(mine[name], theirs[name]) for name in theirs)
    generator.latent_avg = source.latent_avg if same else None


def save_generator(generator: "Generator", path: str | os.PathLike, metadata: Mapping[str, str] | None = None) -> None:
    """Write all tensors of `generator` under rosinality's keys, with its numbers in the metadata (`kind`, `config`)."""
    write_safetensors(path, numpy_tensors(generator) | _center(generator), {**(metadata or {}), **_facts(generator)})


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


def _source_tensors(source: "Generator | None", ref: str | os.PathLike) -> dict[str, np.ndarray]:
    if source is None:
        raise UserError(f"{ref} is a delta file; name the source generator that it belongs to")
    return numpy_tensors(source) | _center(source)


def _center(generator: "Generator") -> dict[str, np.ndarray]:
    return {} if generator.latent_avg is None else {"latent_avg": generator.latent_avg}


def _unseen(config: Mapping, label: str) -> dict[str, float]:
    """Return the numbers that leave no trace in the shapes: the mapping's learning-rate factor and the clamp."""
    numbers = {key: config[key] for key in ("lr_mlp", "conv_clamp") if config.get(key) is not None}
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
            raise UserError(f"{label}: the stored {key} is not a positive number")
    return {key: float(value) for key, value in numbers.items()}

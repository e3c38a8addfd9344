"""StyleGAN2 generators from and to files, whole or as a delta of another generator."""
from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.strict import load_into, numpy_tensors
from jittor_ipl.models.stylegan2.config import LATENT_AVG, GeneratorConfig
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.delta import apply_delta, fingerprint, save_delta
from jittor_ipl.weights.network import read_network

if TYPE_CHECKING:
    from jittor_ipl.models.stylegan2.generator import Generator


def load_generator(ref: str | os.PathLike, *, size: int | None = None,
                   source: "Generator | None" = None) -> "Generator":
    """Build the StyleGAN2 generator stored at `ref` (a path or `demo:<name>`), its numbers inferred from the shapes.

    Reads every dialect of `families.stylegan2` (rosinality's and IPL's checkpoints, NVIDIA's pickles, PaddleGAN's
    files, our safetensors) and, when `source` is given, delta files of it. A mean w in the file (`latent_avg`, `w_avg`)
    becomes the generator's centre of truncation; a delta takes its source's while the mapping network is the same.
    Raises UserError when the file holds no such generator, is damaged, or makes pictures of another `size`.
    """
    network = read_network(ref, kind=("stylegan2", "delta"))
    if network.layout.kind == "delta":
        if source is None:
            raise UserError(f"{ref} is a delta file; name the source generator that it belongs to")
        unseen = {key: value for key, value in network.layout.config.items() if key in ("lr_mlp", "conv_clamp")}
        whole = numpy_tensors(source) | _center(source)
        tensors = adapted_tensors(network.tensors, network.info.metadata, whole, str(ref))
        generator = _built(replace(source.config, **unseen), tensors, str(ref))
    else:
        generator = _built(GeneratorConfig(**network.layout.config), network.tensors, str(ref))
    if size not in (None, generator.size):
        raise UserError(f"{ref} makes {generator.size} px pictures, {size} px were asked for")
    return generator


def _built(config: GeneratorConfig, tensors: Mapping[str, np.ndarray], source: str) -> "Generator":
    from jittor_ipl.models.stylegan2.generator import Generator, Undrawn
    generator = Generator(config, Undrawn())
    load_into(generator, {name: array for name, array in tensors.items() if name != LATENT_AVG}, source=source)
    if LATENT_AVG in tensors:
        generator.latent_avg = _mean_w(tensors[LATENT_AVG], config.style_dim, source)
    return generator


def _mean_w(value: np.ndarray, style_dim: int, source: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        mean = value.astype(np.float32) if value.dtype.kind != "c" else value
    if mean.shape != (style_dim,) or not np.isfinite(mean).all() or mean.dtype != np.float32:
        raise UserError(f"{source}: {LATENT_AVG} of shape {list(value.shape)}; {style_dim} finite numbers are expected")
    return mean


def adapted_tensors(stored: Mapping[str, np.ndarray], metadata: Mapping[str, str], source: Mapping[str, np.ndarray],
                    label: str) -> dict[str, np.ndarray]:
    """Return all tensors of the generator that a delta file describes relative to its source; see `apply_delta`.

    The source's `latent_avg` stays while the mapping network is the source's.
    """
    tensors = {name: array for name, array in source.items() if name != LATENT_AVG}
    whole = apply_delta(stored, metadata, tensors, label)
    moved = any(whole[name] is not array for name, array in tensors.items() if name.startswith("style."))
    return whole if moved or LATENT_AVG not in source else {**whole, LATENT_AVG: source[LATENT_AVG]}


def generator_sha256(generator: "Generator") -> str:
    """Return the hash of a generator's names, shapes and values: equal for equal weights, whatever file they came from.
    """
    return fingerprint(numpy_tensors(generator))


def require_generator(sha256: str, generators: Sequence["Generator"], label: str, advice: str) -> None:
    """Raise UserError unless one of `generators` has this hash; it names the file `label` and ends with `advice`."""
    found = [generator_sha256(generator) for generator in generators]
    if sha256 not in found:
        raise UserError(f"{label} was made for another generator (SHA-256 {sha256[:12]}..., this one has "
                        f"{found[0][:12]}...): {advice}")


def keep_center(generator: "Generator", source: "Generator") -> None:
    """Give `generator` the centre of truncation of its `source`, or none when its w is another's."""
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


def _facts(generator: "Generator") -> dict[str, str]:
    return {"kind": "stylegan2", "config": json.dumps(generator.config.to_json(), sort_keys=True)}


def _center(generator: "Generator") -> dict[str, np.ndarray]:
    return {} if generator.latent_avg is None else {LATENT_AVG: generator.latent_avg}

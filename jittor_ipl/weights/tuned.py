"""Tuned generators: one file with what tuning changed in a generator and the codes of the pictures it was tuned to.

Pivotal tuning (Roich et al. 2022) moves a generator's weights a little until it draws given pictures at given codes;
elsewhere those codes are worth little. So the file is a delta of the source generator, as `weights.delta` has it (the
source's hash included), with one tensor more, "latents" float32 [N, n_latent, style_dim], and in its metadata `names`,
what the N pictures are called.
"""
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.strict import load_into, numpy_tensors
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.delta import apply_delta, changes
from jittor_ipl.weights.network import read_network

if TYPE_CHECKING:
    from jittor_ipl.models.stylegan2.generator import Generator

KIND, LATENTS = "tuned-generator", "latents"


@dataclass(frozen=True)
class Tuned:
    """A generator tuned to pictures and their codes, which belong together.

    generator  draws the pictures from their codes with its own noise maps
    latents    float32 [N, n_latent, style_dim]
    names      of the pictures, as many
    """

    generator: "Generator"
    latents: np.ndarray
    names: tuple[str, ...]


def save_tuned(tuned: Tuned, source: "Generator", path: str | os.PathLike,
               metadata: Mapping[str, str] | None = None, *, half: bool = True) -> None:
    """Write the codes and what tuning changed against `source`; float16 differences unless `half` is False.

    A generator that nothing changed gives a file of codes alone, tied to its source all the same.
    """
    assert tuned.latents.shape[1:] == (source.n_latent, source.style_dim), tuned.latents.shape
    assert len(tuned.names) == len(tuned.latents), tuned.names
    stored, facts = changes(numpy_tensors(tuned.generator), numpy_tensors(source), half)
    facts |= {"kind": KIND, "names": json.dumps(tuned.names, ensure_ascii=False)}
    write_safetensors(path, {**stored, LATENTS: tuned.latents.astype(np.float32)}, {**(metadata or {}), **facts})


def load_tuned(ref: str | os.PathLike, source: "Generator") -> Tuned:
    """Return the generator and the codes that a tuned generator's file holds, over the `source` it was tuned from.

    Raises UserError when the file is something else, was made from another source, or is damaged.
    """
    network = read_network(ref, kind=KIND)
    stored, facts = dict(network.tensors), {**network.info.metadata, "kind": "delta"}
    latents = _checked(stored.pop(LATENTS, None), source, str(ref))
    names = _names(facts, len(latents), str(ref))
    tensors = apply_delta(stored, facts, numpy_tensors(source), str(ref))
    return Tuned(_like(source, tensors, f"{ref} over its source"), latents, names)


def _checked(latents: np.ndarray | None, source: "Generator", label: str) -> np.ndarray:
    wanted = (source.n_latent, source.style_dim)
    if latents is None or latents.ndim != 3 or latents.shape[1:] != wanted or not len(latents):
        found = "none" if latents is None else str(list(latents.shape))
        raise UserError(f"{label}: codes \"{LATENTS}\" [N, {wanted[0]}, {wanted[1]}] are expected, found {found}")
    if latents.dtype.kind != "f" or not np.isfinite(latents).all():
        raise UserError(f"{label}: the codes \"{LATENTS}\" are not finite numbers: the file is damaged")
    return latents.astype(np.float32)


def _names(facts: Mapping[str, str], count: int, label: str) -> tuple[str, ...]:
    try:
        names = json.loads(facts["names"])
    except (KeyError, ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise UserError(f"{label}: its metadata does not name its {count} pictures: the file is damaged")
    return tuple(names)


def carried_over(tuned: "Generator", source: "Generator", adapted: "Generator") -> "Generator":
    """Return `adapted` with the change from `source` to `tuned` added: the tuned pictures in the adapted style.

    All three have the same numbers; both changes are taken from one and the same source. Where neither touches what the
    other changed this is exact; elsewhere their sum is the first-order guess (docs/inversion.md measures it).
    """
    assert tuned.config == source.config and adapted.config.channels == source.config.channels, adapted.config
    before, after = numpy_tensors(source), numpy_tensors(tuned)
    moved = {name: array + (after[name] - before[name]) if not np.array_equal(after[name], before[name]) else array
             for name, array in numpy_tensors(adapted).items()}
    return _like(adapted, moved, "an adapted generator with a tuning")


def _like(generator: "Generator", tensors: Mapping[str, np.ndarray], label: str) -> "Generator":
    """Return a generator of the same numbers and mean w as `generator` with these tensors."""
    from jittor_ipl.models.stylegan2.generator import Generator, Undrawn
    twin = Generator(replace(generator.config), Undrawn())
    load_into(twin, tensors, source=label)
    twin.latent_avg = generator.latent_avg
    return twin

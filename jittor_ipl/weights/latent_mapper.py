"""StyleCLIP's latent mappers from and to files: the published checkpoints, and those that are trained here."""
from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.strict import load_into
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.generator import generator_sha256, load_generator, require_generator
from jittor_ipl.weights.network import read_network

if TYPE_CHECKING:
    from jittor_ipl.models.latent_mappers import LatentMapper
    from jittor_ipl.models.stylegan2.generator import Generator

_KIND, _PREFIX, _GENERATOR = "styleclip-mapper", "mapper.", "generator_sha256"


@dataclass(frozen=True)
class StoredMapper:
    """A latent mapper and what its file says about it.

    ref                 where it came from
    mapper              the network
    description         the prompt that it was trained for; empty where the file does not tell
    generator_sha256    fingerprint of its generator's tensors; None where the file does not tell
    """

    ref: str
    mapper: LatentMapper
    description: str
    generator_sha256: str | None

    def own_generator(self) -> Generator | None:
        """Return the generator that lies in the same file, as in StyleCLIP's checkpoints; None without one."""
        try:
            return load_generator(self.ref)
        except UserError:
            return None


def load_latent_mapper(ref: str | os.PathLike) -> StoredMapper:
    """Return the latent mapper stored at `ref`, a published checkpoint or a file that `edit train-mapper` wrote.

    A file that does not tell its norm is a published one, whose norm runs over the layers of W+. Raises UserError when
    there is no such mapper, or when any tensor is missing, extra, mis-shaped or not finite.
    """
    from jittor_ipl.models.latent_mappers import LatentMapperConfig, make_latent_mapper
    network = read_network(ref, kind=_KIND)
    config = {"norm": "layers", **network.layout.config}
    mapper = make_latent_mapper(LatentMapperConfig(**config))
    load_into(mapper, network.tensors, source=os.fspath(ref))
    told = network.info.metadata.get("description", network.info.values.get("description", ""))
    return StoredMapper(os.fspath(ref), mapper, str(told)[:1000], network.info.metadata.get(_GENERATOR))


def save_latent_mapper(path: str | os.PathLike, tensors: Mapping[str, np.ndarray], config: Mapping[str, object],
                       generator: Generator, description: str, facts: Mapping[str, str] | None = None) -> None:
    """Write a mapper's tensors under the published names, with its config, prompt and generator in the metadata."""
    metadata = {**(facts or {}), "kind": _KIND.replace("-", "_"), "config": json.dumps(dict(config), sort_keys=True),
                "description": description, _GENERATOR: generator_sha256(generator)}
    write_safetensors(path, {_PREFIX + name: array for name, array in tensors.items()}, metadata)


def require_its_generator(stored: StoredMapper, generators: Sequence[Generator]) -> None:
    """Raise UserError when a mapper was made for none of `generators`, by the hash or the generator in its file."""
    wanted = stored.generator_sha256
    if wanted is None and (own := stored.own_generator()) is not None:
        wanted = generator_sha256(own)
    if wanted is not None:
        require_generator(wanted, generators, stored.ref,
                          "name that one with --weights, or train a mapper for this one")

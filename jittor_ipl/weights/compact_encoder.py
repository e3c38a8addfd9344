"""Compact encoders from files, and only over the generator that they were trained with."""
from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jittor_ipl.errors import UserError
from jittor_ipl.models.encoders.compact import CompactConfig, CompactEncoder
from jittor_ipl.models.layers import freeze
from jittor_ipl.models.strict import load_into
from jittor_ipl.weights.generator import generator_sha256
from jittor_ipl.weights.network import read_network

if TYPE_CHECKING:
    from jittor_ipl.models.stylegan2.generator import Generator

KIND = "compact-encoder"


def load_compact(ref: str | os.PathLike, generator: "Generator") -> CompactEncoder:
    """Return the frozen compact encoder at `ref`, a path or `demo:<name>`.

    Raises UserError when the file holds none, or one that was trained with another generator.
    """
    network = read_network(ref, kind=KIND)
    trained, found = network.info.metadata.get("source_sha256", "nothing"), generator_sha256(generator)
    if trained != found:
        raise UserError(f"{ref} was trained with another generator (SHA-256 {trained[:12]}..., this one has "
                        f"{found[:12]}...): its codes mean nothing here; name that generator, or another encoder")
    try:
        encoder = CompactEncoder(CompactConfig(**network.layout.config))
    except TypeError as error:
        raise UserError(f"{ref}: its metadata does not hold the numbers of a compact encoder") from error
    load_into(encoder, network.tensors, source=str(ref))
    freeze(encoder)
    return encoder

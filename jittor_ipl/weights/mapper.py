"""Prompt mappers from files of every dialect: ours, IPL's mapper.pt, the thesis's transformer mappers."""
from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jittor_ipl.models.strict import load_into
from jittor_ipl.weights.network import read_network

if TYPE_CHECKING:
    from jittor_ipl.models.mappers import Mapper


def load_mapper(ref: str | os.PathLike, *, container: str | None = None, batch_is_sequence: bool = False) -> "Mapper":
    """Build the prompt mapper stored at `ref`; `container` as in `read_network`, `batch_is_sequence` as in
    `TransformerMapperConfig`.

    Raises UserError when there is none, or when any tensor is missing, extra, mis-shaped or not finite.
    """
    from jittor_ipl.models.mappers import TransformerMapper, TransformerMapperConfig, make_mapper
    network = read_network(ref, kind="prompt-mapper", container=container)
    config = dict(network.layout.config)
    architecture = config.pop("architecture", "ipl")
    if architecture == "transformer":
        mapper = TransformerMapper(TransformerMapperConfig(**config, batch_is_sequence=batch_is_sequence))
    else:
        mapper = make_mapper(architecture, **config)
    load_into(mapper, network.tensors, source=os.fspath(ref))
    return mapper

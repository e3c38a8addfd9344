"""Prompt mappers from files of every dialect: ours, IPL's mapper.pt, the thesis's transformer mappers."""
from __future__ import annotations

import os
from typing import TYPE_CHECKING

from jittor_ipl.models.strict import load_into
from jittor_ipl.weights.network import read_network

if TYPE_CHECKING:
    from jittor_ipl.models.mappers import Mapper


def load_mapper(ref: str | os.PathLike, *, container: str | None = None, batch_is_sequence: bool = False) -> "Mapper":
    """Build the prompt mapper stored at `ref`; `container` as in `read_network`, `batch_is_sequence` as in `TransformerMapper`.

    Raises UserError when there is none, or when any tensor is missing, extra, mis-shaped or not finite.
    """
    from jittor_ipl.models.mappers import TransformerMapper, TransformerSize, make_mapper
    network = read_network(ref, kind="prompt-mapper", container=container)
    config = network.layout.config
    tokens = {name: config[name] for name in ("style_dim", "n_ctx", "ctx_dim")}
    if config.get("architecture") == "transformer":
        size = TransformerSize(*(config[name] for name in ("layers", "heads", "hidden", "feedforward")))
        mapper = TransformerMapper(**tokens, size=size, pixel_norm=config["pixel_norm"], batch_is_sequence=batch_is_sequence)
    else:
        mapper = make_mapper(config.get("architecture", "ipl"), **tokens)
    load_into(mapper, network.tensors, source=os.fspath(ref))
    return mapper

"""Inversion encoders from files: checkpoints of pSp, e4e and ReStyle, and what `convert` made of them."""
from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.encoders.config import TYPES, EncoderConfig
from jittor_ipl.models.strict import load_into
from jittor_ipl.weights.network import StoredNetwork, read_network

if TYPE_CHECKING:
    from jittor_ipl.models.encoders.encoder import InversionEncoder

KIND, LATENT_AVG = "inversion-encoder", "latent_avg"


def load_encoder(ref: str | os.PathLike, encoder_type: str | None = None) -> "InversionEncoder":
    """Return the frozen encoder at `ref`, a path or `demo:<name>`, with the mean w that its codes are relative to.

    A checkpoint's generator, under "decoder.", is what `weights.generator.load_generator` reads of the same file. The
    tensors of pSp's classes and of e4e's progressive ones are alike: `encoder_type` (a published class) says which it
    is where neither the file's options nor its metadata do. Raises UserError when the file holds no encoder or one of
    another class, when its class is unknown, or when codes are relative to a mean that is not there.
    """
    from jittor_ipl.models.encoders.encoder import InversionEncoder
    from jittor_ipl.models.layers import freeze
    network = read_network(ref, kind=KIND)
    encoder = InversionEncoder(_config(network, encoder_type, str(ref)))
    tensors = {name: array for name, array in network.tensors.items() if name != LATENT_AVG}
    load_into(encoder, tensors, source=str(ref))
    freeze(encoder)
    encoder.latent_avg = _mean(network, encoder.config, str(ref))
    return encoder


def _config(network: StoredNetwork, encoder_type: str | None, source: str) -> EncoderConfig:
    config = dict(network.layout.config)
    possible, stated = TYPES[config["trunk"], config["heads"]], config["encoder_type"]
    if encoder_type is not None and (encoder_type not in possible or stated not in (None, encoder_type)):
        raise UserError(f"{source} holds a {stated or ' or '.join(possible)}, not {encoder_type!r}")
    config["encoder_type"] = stated or encoder_type
    if config["encoder_type"] is None:
        raise UserError(f"{source}: the tensors of {possible[0]} and {possible[1]} are alike, and nothing in the file "
                        "says which it is; name one of the two as the encoder's type")
    return EncoderConfig(**config)


def _mean(network: StoredNetwork, config: EncoderConfig, source: str) -> np.ndarray | None:
    """Return what the codes are relative to [n_styles, style_dim]; None where the options say that they are absolute.

    ReStyle's loop starts from the mean whatever its options say.
    """
    mean = network.tensors.get(LATENT_AVG)
    if network.info.values.get("start_from_latent_avg") is False and not config.iterative:
        return None
    if mean is None:
        raise UserError(f"{source}: its codes are relative to the generator's mean w, but there is no {LATENT_AVG}; "
                        "take the checkpoint that has it")
    rows = np.broadcast_to(mean.astype(np.float32).reshape(-1, config.style_dim), (config.n_styles, config.style_dim))
    if not np.isfinite(rows).all():
        raise UserError(f"{source}: {LATENT_AVG} holds NaN or infinity; the file is damaged")
    return np.array(rows)

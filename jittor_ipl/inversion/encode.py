"""Codes of a picture by an encoder: pSp and e4e in one pass, ReStyle by correcting what its last codes drew."""
from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.encoders.encoder import InversionEncoder
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.ops.resize import resize
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.compact_encoder import KIND as COMPACT
from jittor_ipl.weights.compact_encoder import load_compact
from jittor_ipl.weights.encoder import KIND, load_encoder
from jittor_ipl.weights.network import kind_of

STEPS = 5       # of ReStyle, as published


def encode_with(ref: str | os.PathLike, generator: Generator, steps: int = STEPS,
                encoder_type: str | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """Return picture float32 [1, 3, H, W] in [-1, 1] -> codes [n_latent, style_dim] of the encoder in a file.

    pSp, e4e and ReStyle (`steps` passes) in their published files, or a compact encoder; `encoder_type` as in
    `weights.encoder.load_encoder`. Raises UserError for any other network and for an encoder that does not belong to
    the generator.
    """
    if kind_of(ref, (COMPACT, KIND)) == COMPACT:
        compact = load_compact(ref, generator)
        return lambda picture: compact.code(picture, generator.n_latent)
    encoder = load_encoder(ref, encoder_type)
    check_pair(encoder, generator)
    return lambda picture: encodings(encoder, generator, picture, steps)[-1]


def encodings(encoder: InversionEncoder, generator: Generator, picture: np.ndarray, steps: int = STEPS
              ) -> list[np.ndarray]:
    """Return the codes float32 [n_latent, style_dim] of a picture after every step, the last ones the best.

    picture   float32 [1, 3, H, W] in [-1, 1], aligned; averaged down, or enlarged, to what the encoder takes
    steps     passes of an iterative encoder; others need one and give one

    An iterative encoder (Alaluf et al. 2021) sees the picture beside the one that its codes drew last, at first that of
    the mean w, and adds to these codes. Drawn with the generator's own noise maps. Raises UserError when encoder and
    generator do not belong together, or there is no step.
    """
    check_pair(encoder, generator)
    if steps < 1:
        raise UserError(f"an encoder that takes {steps} steps finds nothing; published are {STEPS}")
    assert picture.ndim == 4 and picture.shape[:2] == (1, 3), picture.shape
    size, found = encoder.config.input_size, []
    with jt.no_grad():
        x = resize(jt.array(picture.astype(np.float32)), size, "bilinear", antialias=True)
        if not encoder.config.iterative:
            return [_codes(encoder(x), encoder, generator, None)]
        last, codes = _drawn(generator, _whole(encoder.latent_avg, generator), size), None
        for step in range(steps):
            codes = _codes(encoder(jt.concat([x, last], 1)), encoder, generator, codes)
            found.append(codes)
            if step + 1 < steps:
                last = _drawn(generator, codes, size)
    return found


def _codes(residual: jt.Var, encoder: InversionEncoder, generator: Generator, before: np.ndarray | None) -> np.ndarray:
    """Return [n_latent, style_dim]: what the encoder says [1, (n_latent,) style_dim] beside the codes `before`."""
    start = encoder.latent_avg if before is None else before
    moved = residual.numpy().reshape(-1, encoder.config.style_dim)
    if not np.isfinite(moved).all():
        raise UserError("the encoder gives NaN or infinity for this picture")
    return _whole(moved if start is None else start + moved, generator)


def _whole(codes: np.ndarray, generator: Generator) -> np.ndarray:
    return np.array(np.broadcast_to(codes, (generator.n_latent, generator.style_dim)), np.float32)


def _drawn(generator: Generator, codes: np.ndarray, size: int) -> jt.Var:
    """Return the picture [1, 3, size, size] of codes, averaged down as the published loop does it."""
    return resize(generator.synthesis(jt.array(codes[None])), size, "area")


def check_pair(encoder: InversionEncoder, generator: Generator) -> None:
    """Raise UserError unless the encoder's codes are such that the generator takes them."""
    config = encoder.config
    single = config.heads == "w"
    if config.style_dim != generator.style_dim or not single and config.n_styles != generator.n_latent:
        codes = "one code" if single else f"{config.n_styles} codes"
        raise UserError(f"the encoder gives {codes} of width {config.style_dim}; a {generator.size} px generator like "
                        f"this takes {generator.n_latent} of width {generator.style_dim}: take the encoder that was "
                        "trained for it")
    if config.iterative and encoder.latent_avg is None:
        raise UserError("an iterative encoder starts from the mean w, and this one has none")

"""CLIP networks from files: OpenAI's archives, their conversions, and compact assets that keep only the words they know."""
from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.errors import UserError

from .generator import require, stored_config
from .load import read_tensors
from .refs import resolve

if TYPE_CHECKING:
    from jittor_ipl.models.clip import Clip

ROWS, EMBEDDING = "token_embedding.rows", "token_embedding.weight"
VOCAB_SIZE, MAX_VOCAB_SIZE = 49408, 1_000_000
_LANDMARKS = ("visual.conv1.weight", "positional_embedding", "text_projection", "ln_final.weight", EMBEDDING)
_UNSEEN_IN_SHAPES = ("transformer_heads", "vision_heads")


def load_clip(ref: str | os.PathLike) -> "Clip":
    """Build the CLIP stored at `ref` (a path or `demo:<name>`): OpenAI's keys, ViT or ResNet, numbers from the shapes.

    `known_tokens` of the result is the int32 array of token ids that have an embedding, or None when all have.
    Raises UserError when the file holds no CLIP in that layout or is damaged.
    """
    from jittor_ipl.models.clip import Clip
    path = resolve(ref)
    tensors, info = read_tensors(path)
    config = stored_config(info.metadata, "clip", str(path))
    require(_LANDMARKS, tensors, f"{path} is not a CLIP network in OpenAI's layout")
    tensors, known = expand_vocabulary(tensors, config.get("vocab_size", VOCAB_SIZE), str(path))
    clip = Clip.from_tensors(tensors, source=str(path), **_heads(config, str(path)))
    clip.known_tokens = known
    return clip


def expand_vocabulary(tensors: Mapping[str, np.ndarray], vocab_size: int,
                      label: str) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Return tensors whose token embedding has `vocab_size` rows, unknown ones zero, and the known token ids.

    A file without `token_embedding.rows` comes back as it is, with None. Raises UserError for impossible rows.
    """
    if ROWS not in tensors:
        return dict(tensors), None
    rows, weight = tensors[ROWS], tensors[EMBEDDING]
    if type(vocab_size) is not int or not 0 < vocab_size <= MAX_VOCAB_SIZE:
        raise UserError(f"{label}: the stored vocab_size is not a whole number up to {MAX_VOCAB_SIZE}")
    if rows.dtype.kind not in "iu" or rows.ndim != 1 or weight.ndim != 2 or len(rows) != len(weight):
        raise UserError(f"{label}: {ROWS} {list(rows.shape)} does not fit {EMBEDDING} {list(weight.shape)}")
    if len(rows) and not (0 <= rows.min() and rows.max() < vocab_size and len(np.unique(rows)) == len(rows)):
        raise UserError(f"{label}: {ROWS} must be different token ids below {vocab_size}")
    full = np.zeros((vocab_size, weight.shape[1]), weight.dtype)
    full[rows] = weight
    return {**{k: v for k, v in tensors.items() if k != ROWS}, EMBEDDING: full}, rows.astype(np.int32)


def _heads(config: dict, label: str) -> dict[str, int]:
    """Return the head counts that the file states; they leave no trace in the shapes."""
    heads = {key: config[key] for key in _UNSEEN_IN_SHAPES if config.get(key) is not None}
    for key, value in heads.items():
        if type(value) is not int or not 0 < value <= 1024:
            raise UserError(f"{label}: the stored {key} is not a whole number from 1 to 1024")
    return heads

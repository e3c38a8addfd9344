"""CLIP networks from files and folders of every dialect, and compact assets that keep only the words they know."""
from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.clip.config import ClipConfig
from jittor_ipl.models.strict import load_into
from jittor_ipl.weights.families.clip.family import ACTIVATIONS, EMBEDDING, ROWS
from jittor_ipl.weights.network import read_network

if TYPE_CHECKING:
    from jittor_ipl.models.clip.model import Clip

_HALVES = {"text-encoder": "text", "image-encoder": "image"}


def load_clip(ref: str | os.PathLike, *, activation: str | None = None) -> "Clip":
    """Build the CLIP stored at `ref` (a file, a folder or `demo:<name>`) in any known dialect, in float32.

    `activation` ("quick_gelu" or "gelu") wins over what the file, its configuration or the rule for its dialect says.
    Says on stderr what is assumed of a file that does not tell. Raises UserError when there is no whole CLIP, when it
    is damaged, or when it is a relative that our towers are not.
    """
    from jittor_ipl.models.clip.model import Clip
    if activation not in (None, *ACTIVATIONS):
        raise UserError(f"no activation {str(activation)[:40]!r} in a CLIP; it is {' or '.join(ACTIVATIONS)}")
    network = read_network(ref, kind=("clip", *_HALVES))
    half = _HALVES.get(network.layout.kind)
    if half:
        raise UserError(f"{ref} holds only the {half} half of a CLIP; give the whole model (CLIPModel)")
    config = {**network.layout.config, **({"activation": activation} if activation else {})}
    for remark in () if activation else network.layout.remarks:
        print(f"note: {ref}: {remark}; `activation` in a suite's clip: list or in clip.load says it", file=sys.stderr,
              flush=True)
    tensors, known = expand_vocabulary(network.tensors, config["vocab_size"], os.fspath(ref))
    clip = Clip(ClipConfig(**config), known)
    load_into(clip, tensors, source=os.fspath(ref))
    return clip


def expand_vocabulary(tensors: Mapping[str, np.ndarray], vocab_size: int,
                      label: str) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """Return tensors whose token embedding has `vocab_size` rows, unknown ones zero, and the known token ids.

    A file without `token_embedding.rows` comes back as it is, with None. Raises UserError for impossible rows.
    """
    if ROWS not in tensors:
        return dict(tensors), None
    rows, weight = tensors[ROWS], tensors[EMBEDDING]
    if rows.dtype.kind not in "iu" or rows.ndim != 1 or weight.ndim != 2 or len(rows) != len(weight):
        raise UserError(f"{label}: {ROWS} {list(rows.shape)} does not fit {EMBEDDING} {list(weight.shape)}")
    if len(rows) and not (0 <= rows.min() and rows.max() < vocab_size and len(np.unique(rows)) == len(rows)):
        raise UserError(f"{label}: {ROWS} must be different token ids below {vocab_size}")
    full = np.zeros((vocab_size, weight.shape[1]), weight.dtype)
    full[rows] = weight
    return {**{k: v for k, v in tensors.items() if k != ROWS}, EMBEDDING: full}, rows.astype(np.int32)

"""DINOv2 vision transformers as Hugging Face stores them (facebook/dinov2-small, -base, -large; no registers)."""
from __future__ import annotations

import math

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.family import Family, Hints, Layout, Shapes, Tensors
from jittor_ipl.weights.families.schema import Schema, count, fill, linear, norm, solve

_HEAD = 64                                      # channels of an attention head in every published size
_OPTIONAL = (r"embeddings\.mask_token", r"classifier\..*")
_BLOCK = r"encoder\.layer\.(\d+)\."


def schema(layers: int) -> Schema:
    """Return the tensors of a transformer with `layers` blocks; width w, hidden h, patch p and places n are unknown."""
    names: Schema = {"embeddings.cls_token": (1, 1, "w"), "embeddings.mask_token": (1, "w"),
                     "embeddings.position_embeddings": (1, "n", "w"),
                     "embeddings.patch_embeddings.projection.weight": ("w", 3, "p", "p"),
                     "embeddings.patch_embeddings.projection.bias": ("w",)}
    for index in range(layers):
        block = f"encoder.layer.{index}"
        names |= norm(f"{block}.norm1", "w")
        for part in ("query", "key", "value"):
            names |= linear(f"{block}.attention.attention.{part}", "w", "w")
        names |= linear(f"{block}.attention.output.dense", "w", "w") | {f"{block}.layer_scale1.lambda1": ("w",)}
        names |= linear(f"{block}.mlp.fc1", "h", "w") | linear(f"{block}.mlp.fc2", "w", "h")
        names |= norm(f"{block}.norm2", "w")
        names |= {f"{block}.layer_scale2.lambda1": ("w",)}
    return names | norm("layernorm", "w")


def recognise(shapes: Shapes, hints: Hints) -> Layout | None:
    """Return the layout of a DINOv2; UserError for its relatives.

    The number of heads is in no shape: config.json or 64 channels each decide.
    """
    if "register_tokens" in shapes or "embeddings.register_tokens" in shapes:
        raise UserError("this is a DINOv2 with registers; one without them is expected, such as facebook/dinov2-base")
    if {"cls_token", "pos_embed"} <= set(shapes) and any(name.startswith("blocks.") for name in shapes):
        raise UserError("this is a vision transformer in the names of timm or of DINO's own code; DINOv2 is read in "
                        "Hugging Face's, such as facebook/dinov2-base")
    if not any(name.endswith((".layer_scale1.lambda1", ".attention.attention.query.weight")) for name in shapes) or \
            not any(name.startswith("embeddings.") for name in shapes):
        return None
    layers = count(shapes, _BLOCK)
    numbers = solve(schema(layers), shapes, 0)
    if not all(numbers[unknown] for unknown in "whpn"):
        return None
    width, heads = numbers["w"], hints.config.get("num_attention_heads")
    if not isinstance(heads, int) or heads <= 0 or width % heads:
        heads = max(1, width // _HEAD)
    config = {"width": width, "layers": layers, "heads": heads, "hidden": numbers["h"],
              "patch": numbers["p"], "grid": math.isqrt(max(numbers["n"] - 1, 1))}
    numbers["n"] = config["grid"]**2 + 1
    return Layout(FAMILY.kind, "huggingface", config, fill(schema(layers), numbers), _OPTIONAL)


def convert(tensors: Tensors, layout: Layout) -> dict[str, np.ndarray]:
    """Return the tensors under the published names, which are ours; a file without a mask token gets one of zeros."""
    mask = "embeddings.mask_token"
    found = {name: tensors[name] for name in layout.expected if name in tensors}
    return found if mask in found else {**found, mask: np.zeros(layout.expected[mask], np.float32)}


FAMILY = Family("dinov2", recognise, convert, landmarks=("embeddings.position_embeddings", "layernorm.weight"),
                next_step="python -m jittor_ipl score --dino {file} compares styles with it")

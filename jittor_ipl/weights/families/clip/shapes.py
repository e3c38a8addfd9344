"""The table of a CLIP's tensors in OpenAI's names: the shapes that its numbers imply, and the other way round."""
from __future__ import annotations

import math
import re
from collections.abc import Mapping

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.family import Shapes
from jittor_ipl.weights.families.schema import Schema, batch_norm, bottlenecks, conv, count, linear, norm, prefixed

# Vision transformers wider than OpenAI's have 16 heads (OpenCLIP's H, g, bigG and e), not one per 64 channels.
SIXTEEN_HEADS = (1280, 1408, 1664, 1792)
RESOLUTION, CONTEXT_LENGTH, VOCAB_SIZE = 224, 77, 49408      # of every released model that lacks the tensor that tells
_LANDMARKS = {"transformer_width": "ln_final.weight", "embed_dim": "text_projection",
              "vision_width": "visual.conv1.weight", "image_resolution": "visual.conv1.weight",
              "transformer_layers": "transformer.resblocks.0.ln_1.weight"}


def infer_config(shapes: Shapes, source: str) -> dict:
    """Return the numbers of `ClipConfig` from OpenAI's names and their shapes; UserError when they are no CLIP's.

    Each number is looked for in several tensors, so that the network a damaged file was meant to hold can be told.
    Head counts leave no trace in the shapes: one per 64 channels is assumed, as in every model OpenAI released, and 16
    for the widths of OpenCLIP's larger towers. Neither does the activation.
    """
    width = _size(shapes, ("ln_final.weight", 0), ("token_embedding.weight", 1), ("positional_embedding", 1),
                  ("text_projection", 0))
    config = dict(
        embed_dim=_size(shapes, ("visual.proj", 1), ("text_projection", 1), ("visual.attnpool.c_proj.weight", 0)),
        context_length=_size(shapes, ("positional_embedding", 0), default=CONTEXT_LENGTH),
        vocab_size=_size(shapes, ("token_embedding.weight", 0), default=VOCAB_SIZE), transformer_width=width,
        transformer_heads=max(1, width // 64), transformer_layers=count(shapes, r"transformer\.resblocks\.(\d+)\."),
        transformer_mlp=_hidden(shapes, "", width))
    is_resnet = any(name.startswith(("visual.layer1.", "visual.attnpool.")) for name in shapes)
    config.update(_resnet_numbers(shapes) if is_resnet else _transformer_numbers(shapes))
    lacking = next((name for key, name in _LANDMARKS.items() if not config[key]), None)
    if lacking:
        raise UserError(f"{source} is not a CLIP in OpenAI's layout: it has no tensor {lacking!r}")
    return config


def _resnet_numbers(shapes: Shapes) -> dict:
    grid = _grid(_size(shapes, ("visual.attnpool.positional_embedding", 0), default=(RESOLUTION // 32) ** 2 + 1))
    return dict(vision_layers=tuple(count(shapes, rf"visual\.layer{i}\.(\d+)\.") for i in (1, 2, 3, 4)),
                vision_width=_size(shapes, ("visual.layer1.0.conv1.weight", 0), ("visual.conv3.weight", 0)),
                vision_patch_size=None, image_resolution=32 * grid,
                norm="batch" if any(name.endswith(".running_mean") for name in shapes) else "group")


def _transformer_numbers(shapes: Shapes) -> dict:
    width = _size(shapes, ("visual.conv1.weight", 0), ("visual.class_embedding", 0), ("visual.proj", 0))
    patch = _size(shapes, ("visual.conv1.weight", 3), default=32)
    places = _size(shapes, ("visual.positional_embedding", 0), default=(RESOLUTION // max(1, patch)) ** 2 + 1)
    return dict(vision_layers=count(shapes, r"visual\.transformer\.resblocks\.(\d+)\."), vision_width=width,
                vision_patch_size=patch, image_resolution=patch * _grid(places),
                vision_mlp=_hidden(shapes, "visual.", width), vision_heads=16 if width in SIXTEEN_HEADS else None)


def _size(shapes: Shapes, *places: tuple[str, int], default: int = 0) -> int:
    """Return the size along an axis of the first tensor of `places` that has one."""
    return next((shapes[name][axis] for name, axis in places if len(shapes.get(name, ())) > axis), default)


def _grid(places: int) -> int:
    """Return the side of a square of `places` positions of which one is the class token's."""
    return math.isqrt(max(0, places - 1))


def _hidden(shapes: Shapes, prefix: str, width: int) -> int | None:
    """Return the channels between the two layers of a tower's MLPs, None when there are four times `width`."""
    names = re.compile(re.escape(prefix) + r"transformer\.resblocks\.\d+\.mlp\.c_fc\.(weight|bias)")
    hidden = next((shape[0] for name, shape in shapes.items() if shape and names.fullmatch(name)), 4 * width)
    return None if hidden == 4 * width else hidden


def tensor_shapes(config: Mapping) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of every tensor of the `Clip` of these numbers, without building it."""
    width, embed = config["transformer_width"], config["embed_dim"]
    visual = _transformer(config) if isinstance(config["vision_layers"], int) else _resnet(config)
    return ({"positional_embedding": (config["context_length"], width), "text_projection": (width, embed),
             "token_embedding.weight": (config["vocab_size"], width), **norm("ln_final", width), "logit_scale": (1,)}
            | _resblocks(config["transformer_layers"], width, config.get("transformer_mlp"))
            | prefixed("visual.", visual))


def _resblocks(layers: int, width: int, hidden: int | None) -> Schema:
    hidden = hidden or 4 * width
    block = {"attn.in_proj_weight": (3 * width, width), "attn.in_proj_bias": (3 * width,),
             **linear("attn.out_proj", width, width), **norm("ln_1", width),
             **linear("mlp.c_fc", hidden, width), **linear("mlp.c_proj", width, hidden), **norm("ln_2", width)}
    return {f"transformer.resblocks.{i}.{name}": shape for i in range(layers) for name, shape in block.items()}


def _transformer(config: Mapping) -> Schema:
    width, patch = config["vision_width"], config["vision_patch_size"]
    grid = config["image_resolution"] // max(1, patch)
    return {"class_embedding": (width,), "positional_embedding": (grid * grid + 1, width),
            "proj": (width, config["embed_dim"]), **conv("conv1", width, 3, patch), **norm("ln_pre", width),
            **norm("ln_post", width), **_resblocks(config["vision_layers"], width, config.get("vision_mlp"))}


def _resnet(config: Mapping) -> Schema:
    normalise = batch_norm if config.get("norm", "batch") == "batch" else norm
    width, names = config["vision_width"], {}
    for i, (n_in, n_out) in enumerate(((3, width // 2), (width // 2, width // 2), (width // 2, width)), 1):
        names |= conv(f"conv{i}", n_out, n_in, 3) | normalise(f"bn{i}", n_out)
    names |= bottlenecks(config["vision_layers"], width, normalise)
    n_in = 32 * width
    names["attnpool.positional_embedding"] = ((config["image_resolution"] // 32) ** 2 + 1, n_in)
    for name in ("k_proj", "q_proj", "v_proj", "c_proj"):
        names |= linear(f"attnpool.{name}", config["embed_dim"] if name == "c_proj" else n_in, n_in)
    return names

"""A CLIP's tensors without the network: the constructor numbers they imply, and the values training starts from (NumPy)."""
from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from ..errors import UserError

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)     # of CLIP's training images in [0, 1], per channel
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def infer_config(tensors: Mapping[str, np.ndarray], source: str) -> dict:
    """Constructor numbers of `Clip` from OpenAI's keys and shapes; raises UserError when `tensors` is not a CLIP.

    Head counts leave no trace in the shapes: one per 64 channels is assumed, as in every model OpenAI released.
    """
    def shape(key: str) -> tuple[int, ...]:
        if key not in tensors:
            raise UserError(f"{source} is not a CLIP in OpenAI's layout: it has no tensor {key!r}")
        return tuple(np.shape(tensors[key]))

    def count(pattern: str) -> int:
        return len({m.group(1) for m in map(re.compile(pattern).match, tensors) if m})

    width = shape("ln_final.weight")[0]
    config = dict(
        embed_dim=shape("text_projection")[1], context_length=shape("positional_embedding")[0],
        vocab_size=shape("token_embedding.weight")[0], transformer_width=width, transformer_heads=max(1, width // 64),
        transformer_layers=count(r"transformer\.resblocks\.(\d+)\."))
    if "visual.proj" in tensors:
        vision_width, _, _, patch = shape("visual.conv1.weight")
        grid = math.isqrt(shape("visual.positional_embedding")[0] - 1)
        config.update(vision_layers=count(r"visual\.transformer\.resblocks\.(\d+)\."), vision_width=vision_width,
                      vision_patch_size=patch, image_resolution=patch * grid)
    else:
        grid = math.isqrt(shape("visual.attnpool.positional_embedding")[0] - 1)
        config.update(vision_layers=tuple(count(rf"visual\.layer{i}\.(\d+)\.") for i in (1, 2, 3, 4)),
                      vision_width=shape("visual.layer1.0.conv1.weight")[0], vision_patch_size=None,
                      image_resolution=32 * grid, norm="batch" if "visual.bn1.running_mean" in tensors else "group")
    return config


def initial_value(name: str, shape: tuple[int, ...], fan_in: int, config: Mapping, rng: np.random.Generator) -> np.ndarray:
    """Draw the tensor `name` as OpenAI's `initialize_parameters` over PyTorch's default initialisation does.

    `fan_in` is the number of inputs of the layer that the tensor belongs to (a bias is drawn like its weight).
    """
    if name == "logit_scale":
        return np.full(shape, math.log(1 / 0.07), np.float32)
    if _is_norm(name):
        residual_end = re.match(r"visual\.layer\d\.\d+\.bn3\.weight", name)       # every residual branch starts at zero
        return np.full(shape, float(name.endswith(("weight", "running_var")) and not residual_end), np.float32)
    if name.endswith(("in_proj_bias", "out_proj.bias")):
        return np.zeros(shape, np.float32)
    std = _normal_std(name, shape, config)
    if std is not None:
        return rng.standard_normal(shape, np.float32) * np.float32(std)
    if name.endswith("in_proj_weight"):                                           # Xavier over the packed matrix
        bound = math.sqrt(6 / (shape[0] + shape[1]))
    else:                                                                         # PyTorch's convolutions and linear layers
        bound = 1 / math.sqrt(fan_in)
    return rng.uniform(-bound, bound, shape).astype(np.float32)


def _is_norm(name: str) -> bool:
    return bool(re.search(r"(^|\.)(ln_\w+|bn\d|downsample\.1)\.\w+$", name))


def _normal_std(name: str, shape: tuple[int, ...], config: Mapping) -> float | None:
    """Standard deviation of a normally drawn tensor, None for those that keep PyTorch's uniform default."""
    width, layers = config["transformer_width"], config["transformer_layers"]
    if name in ("visual.class_embedding", "visual.positional_embedding", "visual.proj"):
        return config["vision_width"] ** -0.5
    if re.fullmatch(r"visual\.attnpool\.(positional_embedding|[kqvc]_proj\.weight)", name):
        return shape[-1] ** -0.5
    fixed = {"token_embedding.weight": 0.02, "positional_embedding": 0.01, "text_projection": width ** -0.5}
    if name in fixed:
        return fixed[name]
    if not re.match(r"transformer\..*weight", name):
        return None
    if name.endswith("in_proj_weight"):
        return width ** -0.5
    return (2 * width) ** -0.5 if name.endswith("c_fc.weight") else width ** -0.5 * (2 * layers) ** -0.5

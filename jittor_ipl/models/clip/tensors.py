"""A CLIP's tensors without the network: the constructor numbers they imply, and the values training starts from (NumPy)."""
from __future__ import annotations

import math
import re
from collections.abc import Mapping

import numpy as np

from jittor_ipl.errors import UserError

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)     # of CLIP's training images in [0, 1], per channel
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


# Vision transformers wider than OpenAI's have 16 heads (OpenCLIP's H, g, bigG and e), not one per 64 channels.
SIXTEEN_HEADS = (1280, 1408, 1664, 1792)
RESOLUTION, CONTEXT_LENGTH, VOCAB_SIZE = 224, 77, 49408      # of every released model that lacks the tensor that tells

Shapes = Mapping[str, tuple[int, ...]]


def infer_config(shapes: Shapes, source: str) -> dict:
    """Constructor numbers of `Clip` from OpenAI's keys and their shapes; raises UserError when they are no CLIP's.

    Each number is looked for in several tensors, so that the network a damaged file was meant to hold can be told.
    Head counts leave no trace in the shapes: one per 64 channels is assumed, as in every model OpenAI released, and 16
    for the widths of OpenCLIP's larger towers. Neither does the activation: `quick_gelu` unless it is told.
    """
    def size(*places: tuple[str, int], default: int = 0) -> int:
        return next((shapes[name][axis] for name, axis in places if len(shapes.get(name, ())) > axis), default)

    def blocks(prefix: str) -> int:
        found = {int(m.group(1)) for m in map(re.compile(prefix + r"(\d{1,6})\.").match, shapes) if m}
        return min(max(found, default=-1) + 1, len(shapes))

    width = size(("ln_final.weight", 0), ("token_embedding.weight", 1), ("positional_embedding", 1), ("text_projection", 0))
    config = dict(
        embed_dim=size(("visual.proj", 1), ("text_projection", 1), ("visual.attnpool.c_proj.weight", 0)),
        context_length=size(("positional_embedding", 0), default=CONTEXT_LENGTH),
        vocab_size=size(("token_embedding.weight", 0), default=VOCAB_SIZE), transformer_width=width,
        transformer_heads=max(1, width // 64), transformer_layers=blocks(r"transformer\.resblocks\."),
        transformer_mlp=_hidden(shapes, "", width))
    if any(name.startswith(("visual.layer1.", "visual.attnpool.")) for name in shapes):
        grid = _grid(size(("visual.attnpool.positional_embedding", 0), default=(RESOLUTION // 32) ** 2 + 1))
        config.update(vision_layers=tuple(blocks(rf"visual\.layer{i}\.") for i in (1, 2, 3, 4)),
                      vision_width=size(("visual.layer1.0.conv1.weight", 0), ("visual.conv3.weight", 0)),
                      vision_patch_size=None, image_resolution=32 * grid,
                      norm="batch" if any(name.endswith(".running_mean") for name in shapes) else "group")
    else:
        vision_width = size(("visual.conv1.weight", 0), ("visual.class_embedding", 0), ("visual.proj", 0))
        patch = size(("visual.conv1.weight", 3), default=32)
        places = size(("visual.positional_embedding", 0), default=(RESOLUTION // max(1, patch)) ** 2 + 1)
        config.update(vision_layers=blocks(r"visual\.transformer\.resblocks\."), vision_width=vision_width,
                      vision_patch_size=patch, image_resolution=patch * _grid(places),
                      vision_mlp=_hidden(shapes, "visual.", vision_width),
                      vision_heads=16 if vision_width in SIXTEEN_HEADS else None)
    for key, name in (("transformer_width", "ln_final.weight"), ("embed_dim", "text_projection"),
                      ("vision_width", "visual.conv1.weight"), ("image_resolution", "visual.conv1.weight"), ("transformer_layers", "transformer.resblocks.0.ln_1.weight")):
        if not config[key]:
            raise UserError(f"{source} is not a CLIP in OpenAI's layout: it has no tensor {name!r}")
    return config


def tensor_shapes(config: Mapping) -> dict[str, tuple[int, ...]]:
    """Names and shapes of every tensor of `Clip(**config)`, without building it."""
    width, embed = config["transformer_width"], config["embed_dim"]
    shapes = {"positional_embedding": (config["context_length"], width), "text_projection": (width, embed),
              "token_embedding.weight": (config["vocab_size"], width), "ln_final.weight": (width,), "ln_final.bias": (width,),
              "logit_scale": (1,)}
    shapes.update(_block_shapes("transformer.resblocks.", config["transformer_layers"], width, config.get("transformer_mlp")))
    if not isinstance(config["vision_layers"], int):
        return {**shapes, **_resnet_shapes(config)}
    width, patch = config["vision_width"], config["vision_patch_size"]
    grid = config["image_resolution"] // max(1, patch)
    shapes.update({"visual.class_embedding": (width,), "visual.positional_embedding": (grid * grid + 1, width),
                   "visual.proj": (width, embed), "visual.conv1.weight": (width, 3, patch, patch),
                   **{f"visual.{norm}.{part}": (width,) for norm in ("ln_pre", "ln_post") for part in ("weight", "bias")}})
    return {**shapes, **_block_shapes("visual.transformer.resblocks.", config["vision_layers"], width, config.get("vision_mlp"))}


def _block_shapes(prefix: str, layers: int, width: int, hidden: int | None) -> dict[str, tuple[int, ...]]:
    hidden = hidden or 4 * width
    block = {"attn.in_proj_weight": (3 * width, width), "attn.in_proj_bias": (3 * width,),
             "attn.out_proj.weight": (width, width), "attn.out_proj.bias": (width,),
             "ln_1.weight": (width,), "ln_1.bias": (width,),
             "mlp.c_fc.weight": (hidden, width), "mlp.c_fc.bias": (hidden,),
             "mlp.c_proj.weight": (width, hidden), "mlp.c_proj.bias": (width,),
             "ln_2.weight": (width,), "ln_2.bias": (width,)}
    return {f"{prefix}{i}.{name}": shape for i in range(layers) for name, shape in block.items()}


def _resnet_shapes(config: Mapping) -> dict[str, tuple[int, ...]]:
    width, shapes = config["vision_width"], {}
    parts = ("weight", "bias") + (("running_mean", "running_var") if config.get("norm", "batch") == "batch" else ())

    def layer(conv: str, norm: str, n_out: int, n_in: int, kernel: int) -> None:
        shapes[f"visual.{conv}.weight"] = (n_out, n_in, kernel, kernel)
        shapes.update({f"visual.{norm}.{part}": (n_out,) for part in parts})

    for i, (n_in, n_out) in enumerate(((3, width // 2), (width // 2, width // 2), (width // 2, width)), 1):
        layer(f"conv{i}", f"bn{i}", n_out, n_in, 3)
    n_in = width
    for stage, blocks in enumerate(config["vision_layers"]):
        planes = width * 2 ** stage
        for block in range(blocks):
            at = f"layer{stage + 1}.{block}."
            layer(at + "conv1", at + "bn1", planes, n_in, 1)
            layer(at + "conv2", at + "bn2", planes, planes, 3)
            layer(at + "conv3", at + "bn3", 4 * planes, planes, 1)
            if block == 0:                                                    # its input has another width or size
                layer(at + "downsample.0", at + "downsample.1", 4 * planes, n_in, 1)
            n_in = 4 * planes
    pool, places = "visual.attnpool.", (config["image_resolution"] // 32) ** 2 + 1
    shapes[pool + "positional_embedding"] = (places, n_in)
    for name in ("k_proj", "q_proj", "v_proj", "c_proj"):
        n_out = config["embed_dim"] if name == "c_proj" else n_in
        shapes.update({f"{pool}{name}.weight": (n_out, n_in), f"{pool}{name}.bias": (n_out,)})
    return shapes


def _grid(places: int) -> int:
    """Side of a square of `places` positions of which one is the class token's."""
    return math.isqrt(max(0, places - 1))


def _hidden(shapes: Shapes, prefix: str, width: int) -> int | None:
    """Channels between the two layers of a tower's MLPs, None when there are four times `width`."""
    names = re.compile(re.escape(prefix) + r"transformer\.resblocks\.\d+\.mlp\.c_fc\.(weight|bias)")
    hidden = next((shape[0] for name, shape in shapes.items() if shape and names.fullmatch(name)), 4 * width)
    return None if hidden == 4 * width else hidden


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

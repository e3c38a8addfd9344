"""The autoencoder of Stable Diffusion (diffusers' AutoencoderKL): config.json -> every name and shape."""
from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.diffusion import fields
from jittor_ipl.weights.families.diffusion.blocks import axis, children, convolution, resnet
from jittor_ipl.weights.families.family import Shapes
from jittor_ipl.weights.families.schema import Schema, linear, norm

# diffusers up to 0.16 named the attention's projections as its author did; later files name them as in the U-Net.
PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
OLD_PROJECTIONS = ("query", "key", "value", "proj_attn")
_OLD_NAME = re.compile(rf"(?<=\.attentions\.0\.)({'|'.join(OLD_PROJECTIONS)})(?=\.)")
_DOWN, _UP = ("DownEncoderBlock2D",), ("UpDecoderBlock2D",)

FIELDS = fields.Fields(
    class_name="AutoencoderKL",
    used={"in_channels": (3, fields.count), "out_channels": (3, fields.count), "latent_channels": (4, fields.count),
          "norm_num_groups": (32, fields.count), "layers_per_block": (1, fields.small_count),
          "scaling_factor": (0.18215, fields.number)},
    per_block={"block_out_channels": ((64,), fields.count),
               "down_block_types": (_DOWN, partial(fields.one_of, known=_DOWN)),
               "up_block_types": (_UP, partial(fields.one_of, known=_UP))},
    only={"act_fn": ("silu", "swish"), "shift_factor": (None,), "latents_mean": (None,), "latents_std": (None,),
          "use_quant_conv": (True,), "use_post_quant_conv": (True,), "mid_block_add_attention": (True,)},
    harmless=frozenset({"sample_size", "force_upcast"}),
    remarks={"shift_factor": "Stable Diffusion 3 or later", "use_quant_conv": "Stable Diffusion 3 or later"})


def vae_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of an AutoencoderKL from its config.json; UserError for what is unknown or unsupported.

    `scaling_factor` multiplies the latents (0.18215 in Stable Diffusion 1 and 2).
    """
    numbers = fields.read_fields(config, FIELDS)
    fields.require_groups(numbers)
    if not numbers["scaling_factor"]:
        raise UserError("scaling_factor must not be 0")
    return numbers


def vae_schema(numbers: Mapping[str, Any], projections: tuple[str, ...] = PROJECTIONS) -> Schema:
    """Return every tensor's name and shape; `projections` chooses the generation of the attention's names."""
    widths, latent, layers = (numbers[name] for name in ("block_out_channels", "latent_channels", "layers_per_block"))
    return {**convolution("encoder.conv_in", widths[0], numbers["in_channels"]),
            **_path("encoder.down_blocks", "downsamplers", widths, layers),
            **_middle("encoder.mid_block", widths[-1], projections), **norm("encoder.conv_norm_out", widths[-1]),
            **convolution("encoder.conv_out", 2 * latent, widths[-1]),
            **convolution("decoder.conv_in", widths[-1], latent),
            **_path("decoder.up_blocks", "upsamplers", widths[::-1], layers + 1),
            **_middle("decoder.mid_block", widths[-1], projections), **norm("decoder.conv_norm_out", widths[0]),
            **convolution("decoder.conv_out", numbers["out_channels"], widths[0]),
            **convolution("quant_conv", 2 * latent, 2 * latent, 1), **convolution("post_quant_conv", latent, latent, 1)}


def _path(name: str, sampler: str, widths: list[int], layers: int) -> Schema:
    """The blocks on the way down or up: ResNets, and but for the last block a change of size."""
    schema: Schema = {}
    for index, (before, width) in enumerate(zip([widths[0], *widths], widths)):
        for layer in range(layers):
            schema |= resnet(f"{name}.{index}.resnets.{layer}", width if layer else before, width, None)
        if index < len(widths) - 1:
            schema |= convolution(f"{name}.{index}.{sampler}.0.conv", width, width)
    return schema


def _middle(name: str, width: int, projections: tuple[str, ...]) -> Schema:
    schema = resnet(f"{name}.resnets.0", width, width, None) | norm(f"{name}.attentions.0.group_norm", width)
    for projection in projections:
        schema |= linear(f"{name}.attentions.0.{projection}", width, width)
    return schema | resnet(f"{name}.resnets.1", width, width, None)


def modern_name(name: str) -> str:
    """Return today's name of a tensor that may have the name of diffusers up to 0.16."""
    return _OLD_NAME.sub(lambda old: PROJECTIONS[OLD_PROJECTIONS.index(old[0])], name)


def guess_vae_config(shapes: Shapes) -> dict[str, Any]:
    """Return the config that fits these tensors, for a file without config.json."""
    depth = min(children(shapes, "encoder.down_blocks.") or 4, fields.MAX_COUNT)
    widths = [axis(shapes, f"encoder.down_blocks.{index}.resnets.0.conv1.weight", 0, 64) for index in range(depth)]
    return {"in_channels": axis(shapes, "encoder.conv_in.weight", 1, 3), "block_out_channels": widths,
            "out_channels": axis(shapes, "decoder.conv_out.weight", 0, 3),
            "latent_channels": axis(shapes, "post_quant_conv.weight", 0, 4),
            "layers_per_block": children(shapes, "encoder.down_blocks.0.resnets.") or 1,
            "down_block_types": ["DownEncoderBlock2D"] * depth, "up_block_types": ["UpDecoderBlock2D"] * depth,
            "norm_num_groups": 32 if not any(width % 32 for width in widths) else 1}

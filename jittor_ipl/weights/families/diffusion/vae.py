"""The autoencoder of Stable Diffusion (diffusers' AutoencoderKL): config.json -> every name and shape."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.diffusion.blocks import autoencoder_attention, axis, children, convolution, resnet
from jittor_ipl.weights.families.diffusion.fields import (
    MAX_COUNT,
    Fields,
    block_types,
    count,
    counts,
    number,
    read_fields,
    require_groups,
)
from jittor_ipl.weights.families.family import Shapes
from jittor_ipl.weights.families.schema import Schema, norm

# diffusers up to 0.16 named the attention's projections as its author did; later files name them as in the U-Net.
PROJECTIONS = ("to_q", "to_k", "to_v", "to_out.0")
OLD_PROJECTIONS = ("query", "key", "value", "proj_attn")

FIELDS = Fields(
    class_name="AutoencoderKL",
    used={"in_channels": 3, "out_channels": 3, "latent_channels": 4, "block_out_channels": (64,), "layers_per_block": 1,
          "down_block_types": ("DownEncoderBlock2D",), "up_block_types": ("UpDecoderBlock2D",), "norm_num_groups": 32,
          "scaling_factor": 0.18215},
    only={"act_fn": ("silu", "swish"), "shift_factor": (None,), "latents_mean": (None,), "latents_std": (None,),
          "use_quant_conv": (True,), "use_post_quant_conv": (True,), "mid_block_add_attention": (True,)},
    harmless=frozenset({"sample_size", "force_upcast"}),
    remarks={"shift_factor": "Stable Diffusion 3 or later", "use_quant_conv": "Stable Diffusion 3 or later"})


def vae_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of an AutoencoderKL from its config.json; UserError for what is unknown or unsupported.

    `scaling_factor` multiplies the latents (0.18215 in Stable Diffusion 1 and 2).
    """
    used, _ = read_fields(config, FIELDS)
    widths = counts(used["block_out_channels"], "block_out_channels", None)
    numbers = {
        **{name: count(used[name], name)
           for name in ("in_channels", "out_channels", "latent_channels", "norm_num_groups")},
        "block_out_channels": widths,
        "layers_per_block": count(used["layers_per_block"], "layers_per_block", MAX_COUNT),
        **{name: block_types(used[name], name, FIELDS.used[name], len(widths))
           for name in ("down_block_types", "up_block_types")},
        "scaling_factor": number(used["scaling_factor"], "scaling_factor")}
    require_groups(widths, numbers["norm_num_groups"])
    if not numbers["scaling_factor"]:
        raise UserError("scaling_factor must not be 0")
    return numbers


def vae_schema(numbers: Mapping[str, Any], projections: tuple[str, ...] = PROJECTIONS) -> Schema:
    """Return every tensor's name and shape; `projections` chooses the generation of the attention's names."""
    widths, latent = numbers["block_out_channels"], numbers["latent_channels"]
    schema = convolution("encoder.conv_in", widths[0], numbers["in_channels"])
    for index, width in enumerate(widths):
        schema |= _blocks(f"encoder.down_blocks.{index}", widths[max(index - 1, 0)], width, numbers["layers_per_block"])
        if index < len(widths) - 1:
            schema |= convolution(f"encoder.down_blocks.{index}.downsamplers.0.conv", width, width)
    schema |= _middle("encoder.mid_block", widths[-1], projections)
    schema |= norm("encoder.conv_norm_out", widths[-1]) | convolution("encoder.conv_out", 2 * latent, widths[-1])
    schema |= convolution("decoder.conv_in", widths[-1], latent)
    for index, width in enumerate(reversed(widths)):
        before = widths[min(len(widths) - index, len(widths) - 1)]
        schema |= _blocks(f"decoder.up_blocks.{index}", before, width, numbers["layers_per_block"] + 1)
        if index < len(widths) - 1:
            schema |= convolution(f"decoder.up_blocks.{index}.upsamplers.0.conv", width, width)
    schema |= _middle("decoder.mid_block", widths[-1], projections)
    schema |= norm("decoder.conv_norm_out", widths[0])
    schema |= convolution("decoder.conv_out", numbers["out_channels"], widths[0])
    schema |= convolution("quant_conv", 2 * latent, 2 * latent, 1)
    return schema | convolution("post_quant_conv", latent, latent, 1)


def _blocks(name: str, before: int, width: int, layers: int) -> Schema:
    schema: Schema = {}
    for layer in range(layers):
        schema |= resnet(f"{name}.resnets.{layer}", before if layer == 0 else width, width, None)
    return schema


def _middle(name: str, width: int, projections: tuple[str, ...]) -> Schema:
    return {**resnet(f"{name}.resnets.0", width, width, None),
            **autoencoder_attention(f"{name}.attentions.0", width, projections),
            **resnet(f"{name}.resnets.1", width, width, None)}


def is_old(shapes: Shapes) -> bool:
    """Return whether the attention's projections have the names of diffusers up to 0.16."""
    return any(".attentions.0." in name and name.split(".attentions.0.")[1].rsplit(".", 1)[0] in OLD_PROJECTIONS
               for name in shapes)


def modern_name(name: str) -> str:
    """Return today's name of a tensor that may have an old one."""
    head, middle, tail = name.partition(".attentions.0.")
    projection, dot, what = tail.rpartition(".")
    return f"{head}{middle}{dict(zip(OLD_PROJECTIONS, PROJECTIONS)).get(projection, projection)}{dot}{what}"


def guess_vae_config(shapes: Shapes) -> dict[str, Any]:
    """Return the config that fits these tensors, for a file without config.json."""
    depth = min(children(shapes, "encoder.down_blocks.") or 4, MAX_COUNT)
    widths = [axis(shapes, f"encoder.down_blocks.{index}.resnets.0.conv1.weight", 0, 64) for index in range(depth)]
    return {"in_channels": axis(shapes, "encoder.conv_in.weight", 1, 3), "block_out_channels": widths,
            "out_channels": axis(shapes, "decoder.conv_out.weight", 0, 3),
            "latent_channels": axis(shapes, "post_quant_conv.weight", 0, 4),
            "layers_per_block": children(shapes, "encoder.down_blocks.0.resnets.") or 1,
            "down_block_types": ["DownEncoderBlock2D"] * depth, "up_block_types": ["UpDecoderBlock2D"] * depth,
            "norm_num_groups": 32 if not any(width % 32 for width in widths) else 1}

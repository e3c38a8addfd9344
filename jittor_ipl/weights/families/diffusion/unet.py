"""The U-Net of Stable Diffusion 1.x and 2.x (diffusers' UNet2DConditionModel): config.json -> every name and shape."""
from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from jittor_ipl.errors import UserError
from jittor_ipl.weights.families.diffusion import fields
from jittor_ipl.weights.families.diffusion.blocks import axis, children, convolution, resnet, transformer
from jittor_ipl.weights.families.family import Shapes
from jittor_ipl.weights.families.schema import Schema, linear, norm

_DOWN, _UP = ("CrossAttnDownBlock2D", "DownBlock2D"), ("CrossAttnUpBlock2D", "UpBlock2D")


def _side(value: Any, name: str) -> int:
    """Return the side of the latents that the network was trained on; of an oblong its longer side."""
    sides = [64] if value is None else value if isinstance(value, (list, tuple)) and len(value) == 2 else [value]
    return max(fields.count(side, name, 8192) for side in sides)


# With the defaults of diffusers, for configs that were written before a field existed.
FIELDS = fields.Fields(
    class_name="UNet2DConditionModel",
    used={"in_channels": (4, fields.count), "out_channels": (4, fields.count), "norm_num_groups": (32, fields.count),
          "conv_in_kernel": (3, partial(fields.count, most=15)), "conv_out_kernel": (3, partial(fields.count, most=15)),
          "use_linear_projection": (False, fields.switch), "flip_sin_to_cos": (True, fields.switch),
          "freq_shift": (0, fields.number), "norm_eps": (1e-5, fields.number), "sample_size": (64, _side),
          "addition_embed_type": (None, lambda value, _: value), "addition_embed_type_num_heads": (64, fields.count)},
    per_block={"block_out_channels": ((320, 640, 1280, 1280), fields.count),
               "down_block_types": ((*3 * _DOWN[:1], _DOWN[1]), partial(fields.one_of, known=_DOWN)),
               "up_block_types": ((_UP[1], *3 * _UP[:1]), partial(fields.one_of, known=_UP)),
               "layers_per_block": (2, fields.small_count), "transformer_layers_per_block": (1, fields.small_count),
               "cross_attention_dim": (1280, fields.count), "attention_head_dim": (8, fields.count)},
    only={
        "center_input_sample": (False,), "mid_block_type": ("UNetMidBlock2DCrossAttn",),
        "only_cross_attention": (False,), "downsample_padding": (1,), "mid_block_scale_factor": (1, 1.0),
        "act_fn": ("silu", "swish"),
        "reverse_transformer_layers_per_block": (None,), "encoder_hid_dim": (None,), "encoder_hid_dim_type": (None,),
        "num_attention_heads": (None,), "dual_cross_attention": (False,), "class_embed_type": (None,),
        "addition_embed_type": (None, "text"), "addition_time_embed_dim": (None,), "num_class_embeds": (None,),
        "resnet_time_scale_shift": ("default",), "resnet_skip_time_act": (False,), "resnet_out_scale_factor": (1.0, 1),
        "time_embedding_type": ("positional",), "time_embedding_dim": (None,), "time_embedding_act_fn": (None,),
        "timestep_post_act": (None,), "time_cond_proj_dim": (None,), "projection_class_embeddings_input_dim": (None,),
        "attention_type": ("default",), "class_embeddings_concat": (False,),
        "mid_block_only_cross_attention": (None, False), "cross_attention_norm": (None,)},
    harmless=frozenset({"dropout", "upcast_attention"}),
    remarks={"addition_embed_type": "'text_time' is Stable Diffusion XL",
             "time_cond_proj_dim": "a latent consistency model",
             **dict.fromkeys(("class_embed_type", "num_class_embeds"), "a U-Net with class labels"),
             "encoder_hid_dim_type": "Kandinsky or IP-Adapter", "attention_type": "GLIGEN"})


def unet_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of a UNet2DConditionModel from its config.json, lists spelled out per block.

    `attention_head_dim` is the number of heads (diffusers' field is misnamed), None where nothing tells it. Raises
    UserError for a field that is unknown, unsupported or contradicts another.
    """
    untold = config.get("attention_head_dim", "default") is None
    numbers = fields.read_fields({**config, "attention_head_dim": 1} if untold else config, FIELDS)
    if untold:
        numbers["attention_head_dim"] = None
    fields.require_groups(numbers)
    for width, heads in zip(numbers["block_out_channels"], numbers["attention_head_dim"] or ()):
        if width % heads:
            raise UserError(f"attention_head_dim: {heads} heads do not divide {width} channels")
    width, heads = numbers["cross_attention_dim"][0], numbers["addition_embed_type_num_heads"]
    if numbers["addition_embed_type"] and (width % heads or len(set(numbers["cross_attention_dim"])) > 1):
        raise UserError(f"addition_embed_type: {heads} heads cannot pool text states {numbers['cross_attention_dim']} "
                        "wide")
    if numbers["conv_in_kernel"] % 2 == 0 or numbers["conv_out_kernel"] % 2 == 0:
        raise UserError("conv_in_kernel and conv_out_kernel must be odd")
    return numbers


def unet_schema(numbers: Mapping[str, Any]) -> Schema:
    """Return every tensor's name and shape of the network with these numbers (of `unet_config`)."""
    widths, first = numbers["block_out_channels"], numbers["block_out_channels"][0]
    time = 4 * first
    schema = convolution("conv_in", first, numbers["in_channels"], numbers["conv_in_kernel"])
    schema |= linear("time_embedding.linear_1", time, first) | linear("time_embedding.linear_2", time, time)
    if numbers["addition_embed_type"]:
        schema |= _text_time(numbers["cross_attention_dim"][0], time)
    for index in range(len(widths)):
        schema |= _down_block(numbers, index, time)
    schema |= _middle(numbers, time)
    for index in range(len(widths)):
        schema |= _up_block(numbers, index, time)
    schema |= norm("conv_norm_out", first)
    return schema | convolution("conv_out", numbers["out_channels"], first, numbers["conv_out_kernel"])


def _text_time(context: int, time: int) -> Schema:
    """Text states pooled into the time embedding (diffusers' TextTimeEmbedding)."""
    name = "add_embedding"
    schema = norm(f"{name}.norm1", context) | {f"{name}.pool.positional_embedding": (1, context)}
    for projection in ("k_proj", "q_proj", "v_proj"):
        schema |= linear(f"{name}.pool.{projection}", context, context)
    return schema | linear(f"{name}.proj", time, context) | norm(f"{name}.norm2", time)


def _attention(numbers: Mapping[str, Any], name: str, block: int) -> Schema:
    return transformer(name, numbers["block_out_channels"][block], numbers["cross_attention_dim"][block],
                       numbers["transformer_layers_per_block"][block], numbers["use_linear_projection"])


def _down_block(numbers: Mapping[str, Any], index: int, time: int) -> Schema:
    widths, name, schema = numbers["block_out_channels"], f"down_blocks.{index}", {}
    for layer in range(numbers["layers_per_block"][index]):
        into = widths[max(index - 1, 0)] if layer == 0 else widths[index]
        schema |= resnet(f"{name}.resnets.{layer}", into, widths[index], time)
        if numbers["down_block_types"][index] == _DOWN[0]:
            schema |= _attention(numbers, f"{name}.attentions.{layer}", index)
    last = index == len(widths) - 1
    return schema if last else schema | convolution(f"{name}.downsamplers.0.conv", widths[index], widths[index])


def _middle(numbers: Mapping[str, Any], time: int) -> Schema:
    width = numbers["block_out_channels"][-1]
    return {**resnet("mid_block.resnets.0", width, width, time), **_attention(numbers, "mid_block.attentions.0", -1),
            **resnet("mid_block.resnets.1", width, width, time)}


def _up_block(numbers: Mapping[str, Any], index: int, time: int) -> Schema:
    """The up blocks mirror the down blocks; each resnet also takes what the down path left at its place."""
    widths = numbers["block_out_channels"]
    mirror = len(widths) - 1 - index
    width, before, below = widths[mirror], widths[min(mirror + 1, len(widths) - 1)], widths[max(mirror - 1, 0)]
    layers, name, schema = numbers["layers_per_block"][mirror] + 1, f"up_blocks.{index}", {}
    for layer in range(layers):
        into = (before if layer == 0 else width) + (below if layer == layers - 1 else width)
        schema |= resnet(f"{name}.resnets.{layer}", into, width, time)
        if numbers["up_block_types"][index] == _UP[0]:
            schema |= _attention(numbers, f"{name}.attentions.{layer}", mirror)
    return schema | convolution(f"{name}.upsamplers.0.conv", width, width) if mirror else schema


def guess_unet_config(shapes: Shapes) -> dict[str, Any]:
    """Return the config that fits these tensors, for a file without config.json.

    The number of attention heads leaves no trace in the shapes: it stays None.
    """
    pooled = axis(shapes, "add_embedding.pool.q_proj.weight", 0, 0)
    depth = min(children(shapes, "down_blocks.") or 4, fields.MAX_COUNT)
    blocks, ups = [f"down_blocks.{i}." for i in range(depth)], [f"up_blocks.{i}." for i in range(depth)]
    keys = [name for name in shapes if name.endswith("attn2.to_k.weight")]
    projections = [len(shape) for name, shape in shapes.items() if name.endswith("attentions.0.proj_in.weight")]
    widths = [axis(shapes, f"{block}resnets.0.conv1.weight", 0, 320) for block in blocks]
    return {
        "in_channels": axis(shapes, "conv_in.weight", 1, 4), "conv_in_kernel": axis(shapes, "conv_in.weight", -1, 3),
        "out_channels": axis(shapes, "conv_out.weight", 0, 4),
        "conv_out_kernel": axis(shapes, "conv_out.weight", -1, 3),
        "block_out_channels": widths, "norm_num_groups": 32 if not any(width % 32 for width in widths) else 1,
        "down_block_types": [_DOWN[0] if children(shapes, f"{block}attentions.") else _DOWN[1] for block in blocks],
        "up_block_types": [_UP[0] if children(shapes, f"{block}attentions.") else _UP[1] for block in ups],
        "layers_per_block": [children(shapes, f"{block}resnets.") or 1 for block in blocks],
        "transformer_layers_per_block": [children(shapes, f"{place}attentions.0.transformer_blocks.") or 1
                                         for place in (*blocks[:-1], "mid_block.")],
        "cross_attention_dim": axis(shapes, keys[0], 1, 1280) if keys else 1280,
        "use_linear_projection": projections[:1] == [2], "attention_head_dim": None,
        "addition_embed_type": "text" if pooled else None, "addition_embed_type_num_heads": 1 if pooled % 64 else 64}

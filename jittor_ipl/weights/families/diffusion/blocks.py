"""Names and shapes of the layers that the networks of diffusers are made of, under diffusers' names."""
from __future__ import annotations

from functools import partial

from jittor_ipl.weights.families.family import Shapes
from jittor_ipl.weights.families.schema import Schema, conv, linear, norm

convolution = partial(conv, bias=True)       # as diffusers has them


def resnet(name: str, into: int, out: int, time: int | None) -> Schema:
    """A ResnetBlock2D; `time` is the width of the time embedding, None in an autoencoder."""
    return {**norm(f"{name}.norm1", into), **convolution(f"{name}.conv1", out, into),
            **(linear(f"{name}.time_emb_proj", out, time) if time else {}),
            **norm(f"{name}.norm2", out), **convolution(f"{name}.conv2", out, out),
            **(convolution(f"{name}.conv_shortcut", out, into, 1) if into != out else {})}


def transformer(name: str, width: int, context: int, layers: int, use_linear_projection: bool) -> Schema:
    """A Transformer2DModel of `layers` blocks, each with self-attention, cross-attention to `context` and a GEGLU."""
    project = linear if use_linear_projection else partial(convolution, kernel=1)
    schema = {**norm(f"{name}.norm", width), **project(f"{name}.proj_in", width, width)}
    for block in (f"{name}.transformer_blocks.{index}" for index in range(layers)):
        for attention, source in (("attn1", width), ("attn2", context)):
            schema |= linear(f"{block}.{attention}.to_q", width, width, bias=False)
            schema |= linear(f"{block}.{attention}.to_k", width, source, bias=False)
            schema |= linear(f"{block}.{attention}.to_v", width, source, bias=False)
            schema |= linear(f"{block}.{attention}.to_out.0", width, width)
        schema |= linear(f"{block}.ff.net.0.proj", 8 * width, width) | linear(f"{block}.ff.net.2", width, 4 * width)
        schema |= norm(f"{block}.norm1", width) | norm(f"{block}.norm2", width) | norm(f"{block}.norm3", width)
    return schema | project(f"{name}.proj_out", width, width)


def axis(shapes: Shapes, name: str, index: int, default: int) -> int:
    """Return one length of a tensor's shape, `default` where the file has no such tensor or axis."""
    shape = shapes.get(name, ())
    return shape[index] if -len(shape) <= index < len(shape) else default


def children(shapes: Shapes, prefix: str) -> int:
    """Return how many numbered children (0, 1, ...) stand under `prefix`."""
    heads = {name[len(prefix):].split(".", 1)[0] for name in shapes if name.startswith(prefix)}
    return next(index for index in range(len(heads) + 1) if str(index) not in heads)

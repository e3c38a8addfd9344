"""What the U-Net and the autoencoder of Stable Diffusion are made of, under diffusers' names."""
from __future__ import annotations

import math

import numpy as np

from jittor_ipl.models.layers import Conv, GroupNorm, LayerNorm, Linear, in_order
from jittor_ipl.ops.activation import silu
from jittor_ipl.ops.attention import attention
from jittor_ipl.ops.geglu import geglu
from jittor_ipl.runtime.backend import jt, nn

TRANSFORMER_EPS = 1e-6      # of the group norm before a transformer or an attention, whatever the config says


def sinusoids(timesteps: jt.Var, width: int, flip_sin_to_cos: bool, freq_shift: float) -> jt.Var:
    """Return sines and cosines of timesteps [B], [B, width] (Ho et al. 2020; `flip_sin_to_cos`: cosines first)."""
    half = width // 2
    frequencies = np.exp(-math.log(10000) * np.arange(half) / (half - freq_shift)).astype(np.float32)
    angles = timesteps.float32().reshape(-1, 1) * jt.array(frequencies).reshape(1, -1)
    parts = [jt.sin(angles), jt.cos(angles)]
    return jt.concat(parts[::-1] if flip_sin_to_cos else parts, dim=1)


class TimestepEmbedding(nn.Module):
    """Two linear layers with a SiLU between them, [B, n_in] -> [B, width]."""

    def __init__(self, n_in: int, width: int):
        self.linear_1, self.linear_2 = Linear(n_in, width), Linear(width, width)

    def execute(self, x: jt.Var) -> jt.Var:
        return self.linear_2(silu(self.linear_1(x)))


class ResnetBlock(nn.Module):
    """Two convolutions behind group norms, added to the input: [B, n_in, H, W] -> [B, n_out, H, W].

    time_width   of the timestep's embedding, which shifts the channels between the two; None without one
    """

    def __init__(self, n_in: int, n_out: int, time_width: int | None, groups: int, eps: float):
        self.norm1, self.conv1 = GroupNorm(groups, n_in, eps, silu=True), Conv(n_in, n_out, 3, padding=1)
        self.time_emb_proj = None if time_width is None else Linear(time_width, n_out)
        self.norm2, self.conv2 = GroupNorm(groups, n_out, eps, silu=True), Conv(n_out, n_out, 3, padding=1)
        self.conv_shortcut = Conv(n_in, n_out, 1) if n_in != n_out else None

    def execute(self, x: jt.Var, time: jt.Var | None = None) -> jt.Var:
        """`time` [B, time_width] is the embedding behind its SiLU."""
        h = self.conv1(self.norm1(x))
        if self.time_emb_proj is not None:
            h = h + self.time_emb_proj(time).reshape(h.shape[0], -1, 1, 1)
        h = self.conv2(self.norm2(h))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Downsample(nn.Module):
    """A convolution of stride 2, [B, C, H, W] -> [B, C, H / 2, W / 2].

    one_sided   zeros below and to the right alone, as in the autoencoder
    """

    def __init__(self, channels: int, one_sided: bool = False):
        self.one_sided = one_sided
        self.conv = Conv(channels, channels, 3, stride=2, padding=0 if one_sided else 1)

    def execute(self, x: jt.Var) -> jt.Var:
        return self.conv(nn.pad(x, (0, 1, 0, 1)) if self.one_sided else x)


class Upsample(nn.Module):
    """Every pixel doubled along both axes, then a convolution, [B, C, H, W] -> [B, C, 2 H, 2 W]."""

    def __init__(self, channels: int):
        self.conv = Conv(channels, channels, 3, padding=1)

    def execute(self, x: jt.Var) -> jt.Var:
        b, c, h, w = x.shape
        doubled = x.reshape(b, c, h, 1, w, 1).broadcast([b, c, h, 2, w, 2]).reshape(b, c, 2 * h, 2 * w)
        return self.conv(doubled)


class CrossAttention(nn.Module):
    """Multi-head attention of tokens [B, n, width] to themselves, or to a context [B, m, context_width]."""

    attend = staticmethod(attention)    # (q, k, v, heads) -> mixed values; methods may put their own into an instance

    def __init__(self, width: int, heads: int, context_width: int | None = None, bias: bool = False):
        source = context_width or width
        self.heads = heads
        self.to_q = Linear(width, width, bias=bias)
        self.to_k, self.to_v = Linear(source, width, bias=bias), Linear(source, width, bias=bias)
        self.to_out = nn.Sequential(Linear(width, width))

    def execute(self, x: jt.Var, context: jt.Var | None = None) -> jt.Var:
        context = x if context is None else context
        return self.to_out(self.attend(self.to_q(x), self.to_k(context), self.to_v(context), self.heads))


class Geglu(nn.Module):
    """One half of a linear layer gated by the GELU of the other, [..., width] -> [..., inner] (Shazeer 2020)."""

    def __init__(self, width: int, inner: int):
        self.proj = Linear(width, 2 * inner)

    def execute(self, x: jt.Var) -> jt.Var:
        return geglu(self.proj(x))


class TransformerBlock(nn.Module):
    """Self-attention, attention to the text and a GEGLU, each added to its input [B, n, width]."""

    def __init__(self, width: int, heads: int, context_width: int):
        self.norm1, self.attn1 = LayerNorm(width), CrossAttention(width, heads)
        self.norm2, self.attn2 = LayerNorm(width), CrossAttention(width, heads, context_width)
        self.norm3 = LayerNorm(width)
        self.ff = in_order(net=in_order(**{"0": Geglu(width, 4 * width), "2": Linear(4 * width, width)}))

    def execute(self, x: jt.Var, context: jt.Var) -> jt.Var:
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the pixels of [B, width, H, W], added to the input (diffusers' Transformer2DModel).

    linear   projections into and out of it are linear layers, not 1x1 convolutions
    """

    def __init__(self, width: int, heads: int, context_width: int, layers: int, groups: int, linear: bool):
        self.linear = linear
        self.norm = GroupNorm(groups, width, TRANSFORMER_EPS)
        self.proj_in, self.proj_out = (Linear(width, width) if linear else Conv(width, width, 1) for _ in range(2))
        self.transformer_blocks = nn.Sequential(*(TransformerBlock(width, heads, context_width) for _ in range(layers)))

    def execute(self, x: jt.Var, context: jt.Var) -> jt.Var:
        h = self.norm(x)
        h = self.proj_in(to_tokens(h)) if self.linear else to_tokens(self.proj_in(h))
        for block in self.transformer_blocks:
            h = block(h, context)
        return x + (to_pixels(self.proj_out(h), x) if self.linear else self.proj_out(to_pixels(h, x)))


def to_tokens(x: jt.Var) -> jt.Var:
    """Return the pixels of [B, C, H, W] as tokens [B, H W, C]."""
    b, c, h, w = x.shape
    return x.reshape(b, c, h * w).permute(0, 2, 1)


def to_pixels(tokens: jt.Var, like: jt.Var) -> jt.Var:
    """Return tokens [B, H W, C] as pixels of the shape of `like` [B, C, H, W]."""
    return tokens.permute(0, 2, 1).reshape(like.shape)

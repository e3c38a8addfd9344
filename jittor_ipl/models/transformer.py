"""OpenAI's pre-norm transformer, shared by CLIP's text tower and its vision tower (names follow the checkpoints)."""
from __future__ import annotations

from jittor_ipl.ops.activation import gelu, quick_gelu
from jittor_ipl.ops.attention import attention
from jittor_ipl.ops.norms import layer_norm
from jittor_ipl.runtime.backend import jt, nn

# OpenAI trained with the sigmoid approximation, OpenCLIP mostly with the exact function; weights do not tell which.
ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": gelu}


class LayerNorm(nn.Module):
    """Normalise the last axis in two passes; keys `weight` and `bias`."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        self.eps = eps
        self.weight, self.bias = jt.ones([width]), jt.zeros([width])

    def execute(self, x):
        return layer_norm(x, self.weight, self.bias, self.eps)


class Linear(nn.Module):
    """`x @ weight.T + bias` over the last axis, `weight` [out, in]; starts at zero (weights are loaded or initialised)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        self.weight, self.bias = jt.zeros([n_out, n_in]), jt.zeros([n_out])

    def execute(self, x):
        return nn.linear(x, self.weight, self.bias)


class Attention(nn.Module):
    """Multi-head self-attention with PyTorch's packed projection (`in_proj_weight` holds query, key and value)."""

    def __init__(self, width: int, heads: int) -> None:
        assert width % heads == 0, f"width {width} is not a multiple of {heads} heads"
        self.heads = heads
        self.in_proj_weight, self.in_proj_bias = jt.zeros([3 * width, width]), jt.zeros([3 * width])
        self.out_proj = Linear(width, width)

    def execute(self, x, mask=None, keep=None):
        """Mix tokens [B, L, width]; `mask` and `keep` as in `ops.attention.attention`."""
        batch, length, width = x.shape
        packed = nn.linear(x, self.in_proj_weight, self.in_proj_bias)               # [B, L, 3W]
        packed = packed.reshape(batch, length, 3, self.heads, width // self.heads)
        q, k, v = packed.permute(2, 0, 3, 1, 4)                                     # each [B, heads, L, W / heads]
        mixed = attention(q, k, v, mask, keep).permute(0, 2, 1, 3).reshape(batch, length, width)
        return self.out_proj(mixed)


class Mlp(nn.Module):
    """Two linear layers with a GELU between them; `hidden` is four times the width when None."""

    def __init__(self, width: int, hidden: int | None = None, activation: str = "quick_gelu") -> None:
        assert activation in ACTIVATIONS, f"activation must be one of {tuple(ACTIVATIONS)}, got {activation!r}"
        hidden = hidden or 4 * width
        self.activation = activation
        self.c_fc, self.c_proj = Linear(width, hidden), Linear(hidden, width)

    def execute(self, x):
        return self.c_proj(ACTIVATIONS[self.activation](self.c_fc(x)))


class ResidualAttentionBlock(nn.Module):
    """One pre-norm block: attention, then MLP, each added to its input."""

    def __init__(self, width: int, heads: int, hidden: int | None = None, activation: str = "quick_gelu",
                 eps: float = 1e-5) -> None:
        self.attn, self.ln_1 = Attention(width, heads), LayerNorm(width, eps)
        self.mlp, self.ln_2 = Mlp(width, hidden, activation), LayerNorm(width, eps)

    def execute(self, x, mask=None):
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """`layers` residual attention blocks on [B, L, width]; `mask` [L, L] is added to the attention scores."""

    def __init__(self, width: int, layers: int, heads: int, hidden: int | None = None, activation: str = "quick_gelu",
                 eps: float = 1e-5) -> None:
        blocks = [ResidualAttentionBlock(width, heads, hidden, activation, eps) for _ in range(layers)]
        self.resblocks = nn.Sequential(*blocks)

    def execute(self, x, mask=None):
        for block in self.resblocks:
            x = block(x, mask)
        return x

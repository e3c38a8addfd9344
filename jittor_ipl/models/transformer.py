"""OpenAI's pre-norm transformer, shared by CLIP's text tower and its vision tower (names follow the checkpoints)."""
from __future__ import annotations

from jittor_ipl.models.layers import LayerNorm, Linear
from jittor_ipl.ops import bfloat16
from jittor_ipl.ops.activation import gelu, quick_gelu
from jittor_ipl.ops.attention import attention
from jittor_ipl.runtime.backend import jt, nn

# OpenAI trained with the sigmoid approximation, OpenCLIP mostly with the exact function; weights do not tell which.
ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": gelu}


class Attention(nn.Module):
    """Multi-head self-attention with PyTorch's packed projection (`in_proj_weight` holds query, key and value)."""

    _lora = _base = None    # of `models.lora`: branches added to query (0), key (1) and value (2); the weight unfused
    _bfloat16 = False       # of `models.bfloat16`: rounded operands for the packed projection

    def __init__(self, width: int, heads: int):
        self.heads = heads
        self.in_proj_weight, self.in_proj_bias = jt.zeros([3 * width, width]), jt.zeros([3 * width])
        self.out_proj = Linear(width, width)

    def execute(self, x: jt.Var, mask: jt.Var | None = None, keep: jt.Var | None = None) -> jt.Var:
        """Mix tokens [B, L, width]; `mask` and `keep` as in `ops.attention.attention`."""
        width = x.shape[2]
        project = bfloat16.matmul_transpose if self._bfloat16 else nn.matmul_transpose
        packed = project(x, self.in_proj_weight) + self.in_proj_bias    # [B, L, 3 width]
        q, k, v = (packed[:, :, i * width:(i + 1) * width] for i in range(3))
        if self._lora is not None:
            product, own = nn.matmul_transpose, self._lora
            q, k, v = (y + own[i](x, product, product) if i in own else y for i, y in enumerate((q, k, v)))
        return self.out_proj(attention(q, k, v, self.heads, mask, keep))


class Mlp(nn.Module):
    """Two linear layers, width to `hidden` and back, with a GELU between them."""

    def __init__(self, width: int, hidden: int, activation: str):
        assert activation in ACTIVATIONS, f"activation must be one of {tuple(ACTIVATIONS)}, got {activation!r}"
        self.activation = activation
        self.c_fc, self.c_proj = Linear(width, hidden), Linear(hidden, width)

    def execute(self, x: jt.Var) -> jt.Var:
        return self.c_proj(ACTIVATIONS[self.activation](self.c_fc(x)))


class ResidualAttentionBlock(nn.Module):
    """One pre-norm block on [B, L, width]: attention, then MLP, each added to its input."""

    def __init__(self, width: int, heads: int, hidden: int, activation: str, eps: float):
        self.attn, self.ln_1 = Attention(width, heads), LayerNorm(width, eps)
        self.mlp, self.ln_2 = Mlp(width, hidden, activation), LayerNorm(width, eps)

    def execute(self, x: jt.Var, mask: jt.Var | None = None) -> jt.Var:
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Residual attention blocks on [B, L, width], under the name that the checkpoints have for them.

    width        channels of a token
    layers       number of blocks
    heads        of each attention; they divide the width
    hidden       channels between an MLP's two layers; four times the width when None
    activation   of the MLPs, "quick_gelu" or "gelu"
    eps          of the layer norms
    """

    def __init__(self, width: int, layers: int, heads: int, hidden: int | None, activation: str, eps: float):
        hidden = hidden or 4 * width
        blocks = [ResidualAttentionBlock(width, heads, hidden, activation, eps) for _ in range(layers)]
        self.resblocks = nn.Sequential(*blocks)

    def execute(self, x: jt.Var, mask: jt.Var | None = None) -> jt.Var:
        """Map tokens [B, L, width] to [B, L, width]; `mask` [L, L] is added to the attention scores."""
        for block in self.resblocks:
            x = block(x, mask)
        return x

"""Bias, leaky ReLU and gain in one pass over the activations."""
from __future__ import annotations

from ..runtime.backend import jt


def bias_act_reference(x: jt.Var, bias: jt.Var, negative_slope: float = 0.2, gain: float = 2**0.5) -> jt.Var:
    """Return `leaky_relu(x + bias) * gain` with Jittor's own operators; `x` [B, C, ...], `bias` [C]."""
    y = x + bias.reshape([1, -1] + [1] * (x.ndim - 2))
    return jt.ternary(y > 0, y, y * negative_slope) * gain


def bias_act(x: jt.Var, bias: jt.Var, negative_slope: float = 0.2, gain: float = 2**0.5) -> jt.Var:
    """Return `leaky_relu(x + bias) * gain`; `x` [B, C, ...], `bias` [C] (fused_leaky_relu of StyleGAN2's code)."""
    assert tuple(bias.shape) == (x.shape[1],), (x.shape, bias.shape)
    return bias_act_reference(x, bias, negative_slope, gain)

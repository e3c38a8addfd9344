"""Layers of networks that are only ever asked, never trained: every tensor is a constant of the graph, zero until loaded.

Attribute names equal PyTorch's, so that published weights load without renaming. Gradients reach the pictures only.
"""
from __future__ import annotations

from jittor_ipl.ops.conv import conv2d
from jittor_ipl.ops.linear import linear
from jittor_ipl.ops.norms import batch_norm_inference
from jittor_ipl.runtime.backend import jt, nn


def constant(*shape: int, value: float = 0.0) -> jt.Var:
    """Return a float32 Var of `shape` that takes no gradient."""
    return (jt.zeros(shape) + value).stop_grad()


class Conv(nn.Module):
    """Convolution [B, n_in, H, W] -> [B, n_out, H', W'] with a square kernel or one of (height, width)."""

    def __init__(self, n_in: int, n_out: int, kernel: int | tuple[int, int], stride: int = 1,
                 padding: int | tuple[int, int] = 0, bias: bool = False):
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        self.weight = constant(n_out, n_in, height, width)
        self.bias = constant(n_out) if bias else None
        self.stride, self.padding = stride, padding

    def execute(self, x: jt.Var) -> jt.Var:
        y = conv2d(x, self.weight, self.stride, self.padding)
        return y if self.bias is None else y + self.bias.reshape(1, -1, 1, 1)


class BatchNorm(nn.Module):
    """Batch norm of [B, C, ...] with the stored statistics."""

    def __init__(self, channels: int, eps: float = 1e-5, affine: bool = True):
        self.weight, self.bias = (constant(channels, value=1), constant(channels)) if affine else (None, None)
        self.running_mean, self.running_var = constant(channels), constant(channels, value=1)
        self.eps = eps

    def execute(self, x: jt.Var) -> jt.Var:
        ones = jt.ones_like(self.running_var)
        weight, bias = (ones, ones * 0) if self.weight is None else (self.weight, self.bias)
        return batch_norm_inference(x, self.running_mean, self.running_var, weight, bias, self.eps)


class PReLU(nn.Module):
    """Leaky ReLU of [B, C, H, W] whose slope is learned for every channel (He et al. 2015)."""

    def __init__(self, channels: int):
        self.weight = constant(channels)

    def execute(self, x: jt.Var) -> jt.Var:
        return jt.maximum(x, 0.0) + self.weight.reshape(1, -1, 1, 1) * jt.minimum(x, 0.0)


class Linear(nn.Module):
    """Linear layer [B, n_in] -> [B, n_out]."""

    def __init__(self, n_in: int, n_out: int):
        self.weight, self.bias = constant(n_out, n_in), constant(n_out)

    def execute(self, x: jt.Var) -> jt.Var:
        return linear(x, self.weight) + self.bias

"""Layers whose own weights never train, each one node of the graph: what their gradient does not need is let go.

Jittor keeps the result of every operator until the gradient is done. A linear layer with a bias and a LoRA are five
such results; its gradient needs none of them, but its input, and that for the LoRA alone.
"""
from __future__ import annotations

from jittor_ipl.ops.conv import conv2d, conv2d_input_gradient
from jittor_ipl.runtime.backend import jt, nn


def frozen_linear(x: jt.Var, weight: jt.Var, bias: jt.Var | None, down: jt.Var | None = None, up: jt.Var | None = None,
                  scale: float = 1.0) -> jt.Var:
    """Return `x W^T + bias + scale (x down^T) up^T`, [..., O]; `x` [..., I], `weight` [O, I], both without a gradient.

    down [r, I] and up [O, r] are the factors of a LoRA, if there is one. Differentiable any number of times.
    """
    return _Linear(x, weight, down, up, scale)(x, weight, bias, down, up)


class _Linear(jt.Function):
    """The Vars of the graph are kept from outside, for second derivatives (see `bmm`), and only those needed."""

    def __init__(self, x: jt.Var, weight: jt.Var, down: jt.Var | None, up: jt.Var | None, scale: float):
        self.weight, self.scale, self.constant = weight, scale, x.is_stop_grad()
        self.branch = None if down is None else (x, down, up)

    def execute(self, x, weight, bias, down, up):
        y = nn.matmul_transpose(x, weight)
        y = y if bias is None else y + bias
        return y if down is None else y + nn.matmul_transpose(nn.matmul_transpose(x, down), up) * self.scale

    def grad(self, g):
        dx = None if self.constant else nn.matmul(g, self.weight)
        if self.branch is None:
            return dx, None, None, None, None
        x, down, up = self.branch
        by_up = nn.matmul(g, up) * self.scale
        dx = None if self.constant else dx + nn.matmul(by_up, down)
        return dx, None, None, _outer(by_up, x), _outer(g, nn.matmul_transpose(x, down)) * self.scale


def _outer(a: jt.Var, b: jt.Var) -> jt.Var:
    """Return `a^T b` [n, m] of rows `a` [..., n] and `b` [..., m]."""
    return nn.matmul(a.reshape(-1, a.shape[-1]).transpose(1, 0), b.reshape(-1, b.shape[-1]))


def frozen_conv2d(x: jt.Var, weight: jt.Var, bias: jt.Var, stride: int, padding: int | tuple[int, int]) -> jt.Var:
    """Return `conv2d(x, weight, stride, padding) + bias`; `weight` and `bias` [O] without a gradient.

    Differentiable any number of times.
    """
    return _Conv(x, weight, stride, padding)(x, weight, bias)


class _Conv(jt.Function):
    def __init__(self, x: jt.Var, weight: jt.Var, stride: int, padding: int | tuple[int, int]):
        self.weight, self.stride, self.padding = weight, stride, padding
        self.size, self.constant = tuple(x.shape[2:]), x.is_stop_grad()

    def execute(self, x, weight, bias):
        return conv2d(x, weight, self.stride, self.padding) + bias.reshape(1, -1, 1, 1)

    def grad(self, g):
        dx = None if self.constant else conv2d_input_gradient(g, self.weight, self.size, self.stride, self.padding)
        return dx, None, None

"""Dense convolution and its transpose, sent straight to oneDNN.

Jittor's own `nn.conv2d` writes a convolution as a seven-dimensional product that its tuner recognises and replaces by
the same library call. It then compiles one kernel per kernel size, stride, padding and direction; here there are three
kernels in all, which saves a fresh machine some ten compilations. On CUDA Jittor's forms are used.
"""
from __future__ import annotations

from dataclasses import dataclass

from jittor_ipl.runtime.backend import jt, nn


@dataclass(frozen=True)
class _Geometry:
    """What ties the three Vars of a convolution y = conv(x, w) together; each is computed from the other two."""

    stride: int
    padding: tuple[int, int]   # above and below, left and right
    size: tuple[int, int]      # height and width of x
    kernel: tuple[int, int]    # height and width of w

    def numbers(self) -> tuple:
        return (self.stride,) * 2 + self.padding + (1, 1, 1, "abcd", "oihw", "abcd")

    def y(self, x: jt.Var, w: jt.Var) -> jt.Var:
        return jt.mkl_ops.mkl_conv(x, w, *self.numbers())

    def x(self, w: jt.Var, y: jt.Var) -> jt.Var:
        return jt.mkl_ops.mkl_conv_backward_x(w, y, *self.size, *self.numbers())

    def w(self, x: jt.Var, y: jt.Var) -> jt.Var:
        return jt.mkl_ops.mkl_conv_backward_w(x, y, *self.kernel, *self.numbers())


def conv2d(x: jt.Var, weight: jt.Var, stride: int = 1, padding: int | tuple[int, int] = 0) -> jt.Var:
    """Convolve `x` [B, I, H, W] with `weight` [O, I, kh, kw]; equals `nn.conv2d`. Differentiable any number of times.

    `padding` is one number, or one for the height and one for the width.
    """
    padding = (padding, padding) if isinstance(padding, int) else padding
    assert x.ndim == weight.ndim == 4 and x.shape[1] == weight.shape[1], (x.shape, weight.shape)
    if not _direct():
        return nn.conv2d(x, weight, stride=stride, padding=padding)
    return _solve("y", _Geometry(stride, padding, tuple(x.shape[2:]), tuple(weight.shape[2:])), x=x, w=weight)


def conv_transpose2d(x: jt.Var, weight: jt.Var, stride: int = 1) -> jt.Var:
    """Spread `x` [B, I, H, W] with `weight` [I, O, kh, kw] to [B, O, (H - 1) stride + kh, ...]; `nn.conv_transpose`.

    Differentiable any number of times.
    """
    assert x.ndim == weight.ndim == 4 and x.shape[1] == weight.shape[0], (x.shape, weight.shape)
    if not _direct():
        return nn.conv_transpose(x, weight, stride=stride)
    size = tuple((n - 1) * stride + k for n, k in zip(x.shape[2:], weight.shape[2:]))
    return _solve("x", _Geometry(stride, (0, 0), size, tuple(weight.shape[2:])), w=weight, y=x)


def _direct() -> bool:
    return not jt.flags.use_cuda and getattr(jt, "mkl_ops", None) is not None


def _solve(wanted: str, geometry: _Geometry, **given: jt.Var) -> jt.Var:
    """Compute `wanted` ("x", "w" or "y") of a convolution from the other two."""
    solver = _Solve()
    solver.wanted, solver.geometry, solver.given = wanted, geometry, given
    return solver(*given.values())


class _Solve(jt.Function):
    """x, w and y of a convolution form one trilinear sum, so every gradient is again one of the three operations."""

    def execute(self, a, b):
        return getattr(self.geometry, self.wanted)(a, b)

    def grad(self, g):
        return tuple(None if var.is_stop_grad() else self._grad_of(name, g) for name, var in self.given.items())

    def _grad_of(self, name: str, g: jt.Var) -> jt.Var:
        operands = {**self.given, self.wanted: g}
        return _solve(name, self.geometry, **{key: operands[key] for key in "xwy" if key != name})

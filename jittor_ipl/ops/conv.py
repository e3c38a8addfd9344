"""Dense convolution and its transpose, sent straight to oneDNN.

Jittor's own `nn.conv2d` writes a convolution as a seven-dimensional product that its tuner recognises and replaces by
the same library call. It then compiles one kernel per kernel size, stride, padding and direction; here there are three
kernels in all, which saves a fresh machine some ten compilations. On CUDA Jittor's forms are used.
"""
from __future__ import annotations

from typing import NamedTuple

from jittor_ipl.runtime.backend import jt, nn, on_gpu


class _Geometry(NamedTuple):
    """What ties the three Vars of a convolution y = conv(x, w) together; each is computed from the other two."""

    stride: int
    padding: tuple[int, int]   # above and below, left and right
    size: tuple[int, int]      # height and width of x
    kernel: tuple[int, int]    # height and width of w


def conv2d(x: jt.Var, weight: jt.Var, stride: int = 1, padding: int | tuple[int, int] = 0) -> jt.Var:
    """Convolve `x` [B, I, H, W] with `weight` [O, I, kh, kw]; equals `nn.conv2d`. Differentiable any number of times.

    `padding` is one number, or one for the height and one for the width.
    """
    padding = (padding, padding) if isinstance(padding, int) else padding
    assert x.ndim == weight.ndim == 4 and x.shape[1] == weight.shape[1], (x.shape, weight.shape)
    if not _direct():
        return nn.conv2d(x, weight, stride=stride, padding=padding)
    geometry = _Geometry(stride, padding, tuple(x.shape[2:]), tuple(weight.shape[2:]))
    return _Solve("y", geometry, x=x, w=weight)(x, weight)


def conv2d_input_gradient(g: jt.Var, weight: jt.Var, size: tuple[int, int], stride: int,
                          padding: int | tuple[int, int]) -> jt.Var:
    """Return the gradient [B, I, *size] of the input of `conv2d` for the gradient `g` [B, O, h, w] of its result."""
    if not _direct():
        x = jt.zeros([g.shape[0], weight.shape[1], *size])
        return jt.grad((conv2d(x, weight, stride, padding) * g).sum(), x)
    padding = (padding, padding) if isinstance(padding, int) else padding
    geometry = _Geometry(stride, padding, tuple(size), tuple(weight.shape[2:]))
    return _Solve("x", geometry, w=weight, y=g)(weight, g)


def conv_transpose2d(x: jt.Var, weight: jt.Var, stride: int = 1) -> jt.Var:
    """Spread `x` [B, I, H, W] with `weight` [I, O, kh, kw] to [B, O, (H - 1) stride + kh, ...]; `nn.conv_transpose`.

    Differentiable any number of times.
    """
    assert x.ndim == weight.ndim == 4 and x.shape[1] == weight.shape[0], (x.shape, weight.shape)
    if not _direct():
        return nn.conv_transpose(x, weight, stride=stride)
    size = tuple((n - 1) * stride + k for n, k in zip(x.shape[2:], weight.shape[2:]))
    return _Solve("x", _Geometry(stride, (0, 0), size, tuple(weight.shape[2:])), w=weight, y=x)(weight, x)


def _direct() -> bool:
    return not on_gpu() and getattr(jt, "mkl_ops", None) is not None


class _Solve(jt.Function):
    """`wanted` ("x", "w" or "y") of a convolution from the other two, `given` in this order.

    The three form one trilinear sum, so every gradient is again one of the three operations.
    """

    def __init__(self, wanted: str, geometry: _Geometry, **given: jt.Var):
        self.wanted, self.geometry = wanted, geometry
        self.constant = {name: var.is_stop_grad() for name, var in given.items()}
        # Each is needed for the other's gradient alone: a frozen layer must not keep its input.
        a, b = given
        self.kept = ({} if self.constant[b] else {a: given[a]}) | ({} if self.constant[a] else {b: given[b]})

    def execute(self, a, b):
        stride, padding, size, kernel = self.geometry
        operation, shape = {"y": (jt.mkl_ops.mkl_conv, ()), "x": (jt.mkl_ops.mkl_conv_backward_x, size),
                            "w": (jt.mkl_ops.mkl_conv_backward_w, kernel)}[self.wanted]
        return operation(a, b, *shape, stride, stride, *padding, 1, 1, 1, "abcd", "oihw", "abcd")

    def grad(self, g):
        return tuple(None if constant else self._grad_of(name, g) for name, constant in self.constant.items())

    def _grad_of(self, name: str, g: jt.Var) -> jt.Var:
        known = {**self.kept, self.wanted: g}
        operands = {key: known[key] for key in "xwy" if key != name}
        return _Solve(name, self.geometry, **operands)(*operands.values())

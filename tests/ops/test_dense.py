"""Convolution, matrix product and modulated convolution against Jittor's own forms and NumPy, up to second order."""
from __future__ import annotations

import numpy as np
import pytest

from jittor_ipl.ops.conv import conv2d, conv_transpose2d
from jittor_ipl.ops.linear import linear
from jittor_ipl.ops.modconv import modulated_conv2d
from jittor_ipl.runtime.backend import jt, nn

CASES = {
    "linear": (linear, nn.matmul_transpose, (5, 70), (9, 70)),
    "conv 3x3": (lambda x, w: conv2d(x, w, padding=1), lambda x, w: nn.conv2d(x, w, padding=1), (2, 5, 9, 7),
                 (6, 5, 3, 3)),
    "conv 4x4 stride 2": (lambda x, w: conv2d(x, w, 2, 1), lambda x, w: nn.conv2d(x, w, stride=2, padding=1),
                          (2, 5, 9, 8), (6, 5, 4, 4)),
    "conv 1x1": (conv2d, nn.conv2d, (2, 5, 9, 7), (3, 5, 1, 1)),
    "transposed": (lambda x, w: conv_transpose2d(x, w, 2), lambda x, w: nn.conv_transpose(x, w, stride=2),
                   (2, 5, 9, 7), (5, 6, 3, 3)),
}


def draw(seed: int, *shape: int) -> jt.Var:
    return jt.array(np.random.RandomState(seed).randn(*shape).astype(np.float32))


@pytest.mark.parametrize("name", CASES)
def test_value_and_two_derivatives(name):
    fast, reference, x_shape, w_shape = CASES[name]
    x, w = draw(0, *x_shape), draw(1, *w_shape)
    cotangent = draw(2, *fast(x, w).shape)

    def all_orders(op):
        y = op(x, w)
        first = jt.grad((y * y * cotangent).sum(), [x, w])
        second = jt.grad((first[0] * first[0]).sum() + (first[1] * first[1] * first[1]).sum(), [x, w])
        return [v.numpy() for v in (y, *first, *second)]

    for what, ours, theirs in zip(("y", "dx", "dw", "ddx", "ddw"), all_orders(fast), all_orders(reference)):
        error = np.abs(ours - theirs).max() / np.abs(theirs).max()
        print(f"{name} {what}: relative error {error:.1e}")
        assert ours.shape == theirs.shape and error < 2e-6


@pytest.mark.parametrize("upsample", [False, True])
def test_modulated_convolution_scales_weights(upsample):
    """The paper's form in NumPy: one kernel per image, scaled and normalised, then a plain (transposed) convolution."""
    x, w, s = draw(0, 2, 5, 6, 6), draw(1, 4, 5, 3, 3), draw(2, 2, 5)
    row = np.array([1, 3, 3, 1], np.float32)
    blur = jt.array(np.outer(row, row) / 16)
    ours = modulated_conv2d(x, w, s, True, blur if upsample else None).numpy()
    kernels = w.numpy()[None] * s.numpy()[:, None, :, None, None] / np.sqrt(45)
    kernels /= np.sqrt((kernels**2).sum((2, 3, 4), keepdims=True) + 1e-8)
    spread = _spread if upsample else (lambda image: image)
    reference = np.stack([_correlate(spread(a), k, upsample) for a, k in zip(x.numpy(), kernels)])
    if upsample:
        reference = np.stack([[_filter(c, blur.numpy()) for c in image] for image in reference])
    error = np.abs(ours - reference).max() / np.abs(reference).max()
    print(f"modulated convolution, upsample {upsample}: relative error {error:.1e}")
    assert ours.shape == reference.shape and error < 5e-6


def _spread(image: np.ndarray) -> np.ndarray:
    c, h, w = image.shape
    out = np.zeros((c, 2 * h - 1, 2 * w - 1), image.dtype)
    out[:, ::2, ::2] = image
    return out


def _correlate(image: np.ndarray, kernel: np.ndarray, full: bool) -> np.ndarray:
    """`full` gives the transposed convolution of the spread image: padding 2 and the kernel turned around."""
    pad = 2 if full else 1
    kernel = kernel[:, :, ::-1, ::-1] if full else kernel
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    return np.einsum("ihwkl,oikl->ohw", windows, kernel)


def _filter(channel: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(channel, 1), kernel.shape)
    return np.einsum("hwkl,kl->hw", windows, kernel)

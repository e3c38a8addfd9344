"""Modulated convolution (Karras et al. 2020, section 2.2) without grouped convolutions.

The paper scales the weights per image and convolves each image with its own kernel. The same numbers come from scaling
the input channels, convolving the whole batch with one shared kernel and scaling the output channels:
`sum_i (s_i w_oi) x_i = sum_i w_oi (s_i x_i)`. One dense convolution is what oneDNN and cuDNN are fastest at, and
Jittor's grouped transposed convolution gives wrong numbers when the channel counts differ.

Upsampling keeps the transposed convolution (nine products per input pixel) and blurs after it. The combined form, one
3x3 convolution to four times the channels and a pixel shuffle, has four times the products and is 3.5 times slower at
512 channels and 2.8 times slower, forward and backward, at 64 (one thread, AVX-512; docs/performance.md).
"""
from __future__ import annotations

import math

from jittor_ipl.ops import bfloat16 as in_bfloat16
from jittor_ipl.ops import conv as in_float32
from jittor_ipl.ops.linear import linear
from jittor_ipl.ops.upfirdn2d import upfirdn2d
from jittor_ipl.runtime.backend import jt

EPS = 1e-8


def modulated_conv2d(x: jt.Var, weight: jt.Var, s: jt.Var, demodulate: bool = True,
                     blur: jt.Var | None = None, bfloat16: bool = False) -> jt.Var:
    """Convolve `x` [B or 1, I, H, W] with `weight` [O, I, k, k] scaled per image by `s` [B, I].

    The weight's scale 1/sqrt(I k^2) is applied here. With `blur` (a [4, 4] kernel whose sum is 4) the convolution is
    transposed with stride 2 and blurred after. `bfloat16` rounds what the convolution multiplies. Returns
    [B, O, H, W] or [B, O, 2H, 2W].
    """
    o, i, k, _ = weight.shape
    s = s * (1 / math.sqrt(i * k * k))
    y = x * s.reshape(-1, i, 1, 1)                                               # [B, I, H, W]
    products = in_bfloat16 if bfloat16 else in_float32
    if blur is None:
        y = products.conv2d(y, weight, padding=k // 2)
    else:
        y = upfirdn2d(products.conv_transpose2d(y, weight.transpose(1, 0, 2, 3), stride=2), blur, pad=(1, 1))
    return y * demodulation(weight, s).reshape(-1, o, 1, 1) if demodulate else y


def demodulation(weight: jt.Var, s: jt.Var) -> jt.Var:
    """Return 1 / |weight * s| per image and output channel, [B, O]; `weight` [O, I, k, k], `s` [B, I]."""
    squared = (weight * weight).sum([2, 3])                                      # [O, I]
    return 1 / jt.sqrt(linear(s * s, squared) + EPS)

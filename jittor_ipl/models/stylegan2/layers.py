"""Layers of StyleGAN2. Attribute names are the keys of rosinality checkpoints, so that conversion changes nothing."""
from __future__ import annotations

import math

import numpy as np

from jittor_ipl.models.layers import Holder
from jittor_ipl.models.stylegan2.config import blur_kernel
from jittor_ipl.ops.bias_act import bias_act
from jittor_ipl.ops.linear import linear
from jittor_ipl.ops.modconv import modulated_conv2d
from jittor_ipl.ops.norms import mean
from jittor_ipl.ops.upfirdn2d import upfirdn2d
from jittor_ipl.runtime.backend import jt, nn


class PixelNorm(nn.Module):
    """Scale every row of [B, d] to unit mean square."""

    def execute(self, x: jt.Var) -> jt.Var:
        return x / jt.sqrt(mean(x * x, 1, keepdims=True) + 1e-8)


class EqualLinear(nn.Module):
    """Linear layer [B, d_in] -> [B, d_out] whose weights are scaled at run time (Karras et al. 2018, section 4.1).

    `rng` draws the initial weights; `activate` adds the leaky ReLU with gain sqrt(2).
    """

    def __init__(self, d_in: int, d_out: int, rng: np.random.Generator, bias: float = 0.0, lr_mul: float = 1.0,
                 activate: bool = False):
        self.weight = jt.array(rng.standard_normal((d_out, d_in), np.float32) / lr_mul)
        self.bias = jt.array(np.full(d_out, bias, np.float32))
        self.lr_mul, self.scale, self.activate = lr_mul, lr_mul / math.sqrt(d_in), activate

    def execute(self, x: jt.Var) -> jt.Var:
        y = linear(x, self.weight) * self.scale
        bias = self.bias * self.lr_mul
        return bias_act(y, bias) if self.activate else y + bias


def _filter() -> Holder:
    """Return what holds the [1, 3, 3, 1] filter of an upsampling layer."""
    return Holder(kernel=jt.array(blur_kernel()).stop_grad())


class ModulatedConv2d(nn.Module):
    """Holds weight and modulation of one convolution; the arithmetic is `ops.modconv`."""

    _bfloat16 = False       # of `models.bfloat16`: products of rounded operands

    def __init__(self, c_in: int, c_out: int, k: int, style_dim: int, rng: np.random.Generator, upsample: bool = False,
                 demodulate: bool = True):
        self.weight = jt.array(rng.standard_normal((1, c_out, c_in, k, k), np.float32))
        self.demodulate, self.blur = demodulate, _filter() if upsample else None
        self.modulation = EqualLinear(style_dim, c_in, rng, bias=1.0)

    def execute(self, x: jt.Var, s: jt.Var) -> jt.Var:
        weight = self.weight.reshape(self.weight.shape[1:])     # [O, I, k, k]; checkpoints have a leading 1
        blur = self.blur.kernel if self.blur is not None else None
        return modulated_conv2d(x, weight, s, self.demodulate, blur, self._bfloat16)


def clamped(y: jt.Var, bound: float | None) -> jt.Var:
    """Return `y` held in [-bound, bound] (Karras et al. 2020, "limited data", trained in float16 so), or as it is."""
    return y if bound is None else jt.clamp(y, -bound, bound)


class StyledConv(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU and clamp; doubles the size when `upsample`."""

    def __init__(self, c_in: int, c_out: int, style_dim: int, rng: np.random.Generator, upsample: bool = False,
                 clamp: float | None = None):
        self.clamp = clamp
        self.conv = ModulatedConv2d(c_in, c_out, 3, style_dim, rng, upsample)
        self.noise = Holder(weight=jt.array(np.zeros(1, np.float32)))           # its strength
        self.activate = Holder(bias=jt.array(np.zeros(c_out, np.float32)))

    def execute(self, x: jt.Var, s: jt.Var, noise: jt.Var | None) -> jt.Var:
        """Map `x` [B or 1, I, h, w] and S code `s` [B, I] to [B, O, H, W]; `noise` is [B or 1, 1, H, W] or None."""
        y = self.conv(x, s)
        if noise is not None:
            y = y + self.noise.weight * noise
        return clamped(bias_act(y, self.activate.bias), self.clamp)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to three channels, added to the upsampled image of the level below."""

    def __init__(self, c_in: int, style_dim: int, rng: np.random.Generator, upsample: bool = True,
                 clamp: float | None = None):
        self.clamp = clamp
        self.bias = jt.array(np.zeros((1, 3, 1, 1), np.float32))
        self.upsample = _filter() if upsample else None
        self.conv = ModulatedConv2d(c_in, 3, 1, style_dim, rng, demodulate=False)

    def execute(self, x: jt.Var, s: jt.Var, skip: jt.Var | None = None) -> jt.Var:
        """Map `x` [B, C, H, W], `s` [B, C] and `skip` [B, 3, H/2, W/2] to [B, 3, H, W]."""
        y = clamped(self.conv(x, s) + self.bias, self.clamp)
        return y if skip is None else y + upfirdn2d(skip, self.upsample.kernel, up=2, pad=(2, 1))


class Noises(nn.Module):
    """The noise of "const" mode: buffers `noise_0`.. of shape [1, 1, r, r], one per styled convolution."""

    def __init__(self, sizes: list[int], rng: np.random.Generator):
        self.count = len(sizes)
        for i, r in enumerate(sizes):
            setattr(self, f"noise_{i}", jt.array(rng.standard_normal((1, 1, r, r), np.float32)).stop_grad())

    def as_list(self) -> list[jt.Var]:
        return [getattr(self, f"noise_{i}") for i in range(self.count)]

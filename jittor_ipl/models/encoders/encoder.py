"""Inversion encoders: pSp (Richardson et al. 2021), e4e (Tov et al. 2021) and ReStyle's (Alaluf et al. 2021).

A trunk, then heads that give a code each. Attribute names are those of the published programs, for every class of
`config.TYPES`: one class here, since they differ in where the heads read and in what they add up to.
"""
from __future__ import annotations

import math

import numpy as np

from jittor_ipl.models.encoders.config import COARSE, MIDDLE, EncoderConfig
from jittor_ipl.models.features.arcface import PReLU, Unit
from jittor_ipl.models.layers import BatchNorm, Conv, Linear, in_order
from jittor_ipl.models.stylegan2.generator import Undrawn
from jittor_ipl.models.stylegan2.layers import EqualLinear
from jittor_ipl.ops.norms import mean
from jittor_ipl.ops.resize import resize
from jittor_ipl.runtime.backend import jt, nn

_POOLED = 7         # side of the last map before the linear layers of "w+" heads


class BasicBlock(nn.Module):
    """ResNet's block of two convolutions [B, c_in, H, W] -> [B, c_out, H / stride, W / stride] (He et al. 2015)."""

    def __init__(self, c_in: int, c_out: int, stride: int):
        self.conv1, self.bn1 = Conv(c_in, c_out, 3, stride, 1, bias=False), BatchNorm(c_out)
        self.conv2, self.bn2 = Conv(c_out, c_out, 3, 1, 1, bias=False), BatchNorm(c_out)
        shortcut = nn.Sequential(Conv(c_in, c_out, 1, stride, bias=False), BatchNorm(c_out)) if c_in != c_out else None
        self.downsample = shortcut

    def execute(self, x: jt.Var) -> jt.Var:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = nn.relu(self.bn1(self.conv1(x)))
        return nn.relu(self.bn2(self.conv2(y)) + shortcut)


class LeakyReLU(nn.Module):
    """PyTorch's default, of slope .01 below zero."""

    def execute(self, x: jt.Var) -> jt.Var:
        return jt.maximum(x, 0.01 * x)


class StyleHead(nn.Module):
    """pSp's map2style block: a map [B, c_in, side, side] halved to one code [B, dim]; `side` is a power of 2."""

    def __init__(self, c_in: int, dim: int, side: int):
        layers = []
        for index in range(int(math.log2(side))):
            layers += [Conv(dim if index else c_in, dim, 3, 2, 1), LeakyReLU()]
        self.convs, self.linear = nn.Sequential(*layers), EqualLinear(dim, dim, Undrawn())

    def execute(self, x: jt.Var) -> jt.Var:
        y = self.convs(x)
        return self.linear(y.reshape(y.shape[0], y.shape[1]))


class _Pool(nn.Module):
    """Average [B, C, H, W] to the 7 x 7 cells that "w+" heads read, as PyTorch's adaptive pooling."""

    def execute(self, x: jt.Var) -> jt.Var:
        return resize(x, _POOLED, "area")


class InversionEncoder(nn.Module):
    """Pictures [B, input_channels, input_size, input_size] in [-1, 1] to codes relative to the mean w.

    Codes are [B, n_styles, style_dim], or [B, style_dim] of "w" heads. All tensors are zero until `weights.encoder`
    fills them.

    latent_avg   what codes are relative to, [n_styles, style_dim] or, of "w" heads, [1, style_dim]; None before it is
                 known, and for an encoder whose codes are absolute
    """

    def __init__(self, config: EncoderConfig):
        self.config, self.latent_avg = config, None
        width, top, dim, n = config.width, 8 * config.width, config.style_dim, config.n_styles
        if config.trunk == "ir":
            first = Conv(config.input_channels, width, 3, padding=1, bias=False)
            self.input_layer = nn.Sequential(first, BatchNorm(width), PReLU(width))
        else:
            self.conv1 = Conv(config.input_channels, width, 7, 2, 3, bias=False)
            self.bn1, self.relu = BatchNorm(width), PReLU(width)
        self.body = nn.Sequential(*_units(config))
        if config.heads in ("pyramid", "flat"):
            self.styles = nn.ModuleList([StyleHead(top, dim, config.map_side(index)) for index in range(n)])
        if config.heads == "pyramid":
            self.latlayer1, self.latlayer2 = Conv(4 * width, dim, 1), Conv(2 * width, dim, 1)
        if config.heads == "w":
            self.linear = EqualLinear(top, dim, Undrawn())
        if config.heads == "w+":
            flat = Linear(top * _POOLED**2, dim)
            self.output_layer_2 = in_order(**{"0": BatchNorm(top), "1": _Pool(), "2": nn.Flatten(), "3": flat})
            self.linear = EqualLinear(dim, dim * n, Undrawn())

    def execute(self, x: jt.Var) -> jt.Var:
        """Return the codes of pictures; the first head of a progressive encoder gives a code, the others add to it."""
        config = self.config
        size = config.input_size
        assert tuple(x.shape[1:]) == (config.input_channels, size, size), (x.shape, config)
        maps = self._maps(x)
        if config.heads == "w":
            return self.linear(mean(maps[-1], (2, 3)))
        if config.heads == "w+":
            return self.linear(self.output_layer_2(maps[-1])).reshape(-1, config.n_styles, config.style_dim)
        read = [maps[-1]] * config.n_styles if config.heads == "flat" else self._pyramid(maps)
        codes = [head(map_) for head, map_ in zip(self.styles, read)]
        if config.progressive:
            codes = codes[:1] + [codes[0] + code for code in codes[1:]]
        return jt.stack(codes, 1)

    def _maps(self, x: jt.Var) -> list[jt.Var]:
        """Return the trunk's maps at the ends of its resolutions, the finest first."""
        x = self.input_layer(x) if self.config.trunk == "ir" else self.relu(self.bn1(self.conv1(x)))
        ends, maps = set(np.cumsum(self.config.units)), []
        for index, unit in enumerate(self.body, 1):
            x = unit(x)
            maps += [x] if index in ends else []
        return maps

    def _pyramid(self, maps: list[jt.Var]) -> list[jt.Var]:
        """Return what every head reads: the coarse map, or a finer one with the coarser ones upsampled into it."""
        _, fine, middle, coarse = maps
        middle = _upsampled(coarse, middle.shape[2]) + self.latlayer1(middle)
        fine = _upsampled(middle, fine.shape[2]) + self.latlayer2(fine)
        return [coarse if index < COARSE else middle if index < MIDDLE else fine
                for index in range(self.config.n_styles)]


def _upsampled(x: jt.Var, side: int) -> jt.Var:
    return resize(x, side, "bilinear-corners")


def _units(config: EncoderConfig) -> list[nn.Module]:
    """Return the trunk's units. Every resolution of an IR trunk halves the map, a ResNet's first one does not."""
    units, c_in = [], config.width
    for stage, number in enumerate(config.units):
        c_out = config.width * 2**stage
        for index in range(number):
            stride = 2 if index == 0 and (stage or config.trunk == "ir") else 1
            units.append(Unit(c_in, c_out, stride, config.squeeze) if config.trunk == "ir"
                         else BasicBlock(c_in, c_out, stride))
            c_in = c_out
    return units

"""Inception v3 as FID was defined with (Szegedy et al. 2015; Heusel et al. 2017): TensorFlow's network of 2015-12-05.

It differs from torchvision's in its pools (the mean leaves out the padding; the last block takes the maximum), in its
1,008 classes, and in TensorFlow 1's way of resizing. Attribute names are those of pytorch-fid's and torch-fidelity's
weights. One core of an AMD EPYC handles 6.7 pictures a second (PyTorch 5.7; scripts/speed/features.py).
"""
from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from jittor_ipl.models.layers import BatchNorm, Conv, Linear, freeze
from jittor_ipl.ops.norms import mean
from jittor_ipl.ops.pool import average_pool, max_pool
from jittor_ipl.runtime.backend import jt, nn

SIZE = 299
TAPS = ("64-map", "64", "192", "768", "2048", "logits_unbiased", "logits")     # torch-fidelity's names but the first
CLASSES = 1008
_ROW, _COLUMN = (1, 7), (7, 1)


class ConvNormRelu(nn.Module):
    """Convolution without bias, batch norm, ReLU; the padding keeps the size unless `valid`."""

    def __init__(self, n_in: int, n_out: int, kernel: int | tuple[int, int], stride: int = 1, valid: bool = False):
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (0, 0) if valid or stride > 1 else (height // 2, width // 2)
        self.conv, self.bn = Conv(n_in, n_out, kernel, stride, padding, bias=False), BatchNorm(n_out, eps=1e-3)

    def execute(self, x: jt.Var) -> jt.Var:
        return nn.relu(self.bn(self.conv(x)))


class BlockA(nn.Module):
    """35 px: 1x1, 5x5, two 3x3, and a pooled branch of `pool` channels."""

    def __init__(self, n_in: int, pool: int):
        self.branch1x1 = ConvNormRelu(n_in, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = ConvNormRelu(n_in, 48, 1), ConvNormRelu(48, 64, 5)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = ConvNormRelu(n_in, 64, 1), ConvNormRelu(64, 96, 3)
        self.branch3x3dbl_3 = ConvNormRelu(96, 96, 3)
        self.branch_pool = ConvNormRelu(n_in, pool, 1)

    def execute(self, x: jt.Var) -> jt.Var:
        return jt.concat([self.branch1x1(x), self.branch5x5_2(self.branch5x5_1(x)),
                          self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
                          self.branch_pool(average_pool(x, 3, 1, 1))], dim=1)


class BlockB(nn.Module):
    """35 px to 17 px."""

    def __init__(self, n_in: int):
        self.branch3x3 = ConvNormRelu(n_in, 384, 3, stride=2)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = ConvNormRelu(n_in, 64, 1), ConvNormRelu(64, 96, 3)
        self.branch3x3dbl_3 = ConvNormRelu(96, 96, 3, stride=2)

    def execute(self, x: jt.Var) -> jt.Var:
        return jt.concat([self.branch3x3(x), self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x))),
                          max_pool(x, 3, 2)], dim=1)


class BlockC(nn.Module):
    """17 px: 7x7 convolutions as rows and columns of `c7` channels."""

    def __init__(self, n_in: int, c7: int):
        self.branch1x1 = ConvNormRelu(n_in, 192, 1)
        self.branch7x7_1, self.branch7x7_2 = ConvNormRelu(n_in, c7, 1), ConvNormRelu(c7, c7, _ROW)
        self.branch7x7_3 = ConvNormRelu(c7, 192, _COLUMN)
        self.branch7x7dbl_1, self.branch7x7dbl_2 = ConvNormRelu(n_in, c7, 1), ConvNormRelu(c7, c7, _COLUMN)
        self.branch7x7dbl_3, self.branch7x7dbl_4 = ConvNormRelu(c7, c7, _ROW), ConvNormRelu(c7, c7, _COLUMN)
        self.branch7x7dbl_5 = ConvNormRelu(c7, 192, _ROW)
        self.branch_pool = ConvNormRelu(n_in, 192, 1)

    def execute(self, x: jt.Var) -> jt.Var:
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        return jt.concat([self.branch1x1(x), self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x))),
                          self.branch7x7dbl_5(self.branch7x7dbl_4(double)),
                          self.branch_pool(average_pool(x, 3, 1, 1))], dim=1)


class BlockD(nn.Module):
    """17 px to 8 px."""

    def __init__(self, n_in: int):
        self.branch3x3_1, self.branch3x3_2 = ConvNormRelu(n_in, 192, 1), ConvNormRelu(192, 320, 3, stride=2)
        self.branch7x7x3_1, self.branch7x7x3_2 = ConvNormRelu(n_in, 192, 1), ConvNormRelu(192, 192, _ROW)
        self.branch7x7x3_3, self.branch7x7x3_4 = ConvNormRelu(192, 192, _COLUMN), ConvNormRelu(192, 192, 3, stride=2)

    def execute(self, x: jt.Var) -> jt.Var:
        return jt.concat([self.branch3x3_2(self.branch3x3_1(x)),
                          self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))),
                          max_pool(x, 3, 2)], dim=1)


class BlockE(nn.Module):
    """8 px: 3x3 convolutions split into a row and a column side by side. The last block pools with the maximum.

    That maximum is probably an oversight of the original, but part of what FID means.
    """

    def __init__(self, n_in: int, maximum: bool):
        self.maximum = maximum
        self.branch1x1 = ConvNormRelu(n_in, 320, 1)
        self.branch3x3_1 = ConvNormRelu(n_in, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = ConvNormRelu(384, 384, (1, 3)), ConvNormRelu(384, 384, (3, 1))
        self.branch3x3dbl_1, self.branch3x3dbl_2 = ConvNormRelu(n_in, 448, 1), ConvNormRelu(448, 384, 3)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = ConvNormRelu(384, 384, (1, 3)), ConvNormRelu(384, 384, (3, 1))
        self.branch_pool = ConvNormRelu(n_in, 192, 1)

    def execute(self, x: jt.Var) -> jt.Var:
        single, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = max_pool(x, 3, 1, 1) if self.maximum else average_pool(x, 3, 1, 1)
        return jt.concat([self.branch1x1(x), self.branch3x3_2a(single), self.branch3x3_2b(single),
                          self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double), self.branch_pool(pooled)], dim=1)


class Inception(nn.Module):
    """Pictures to features at the taps of TAPS; frozen, zero until `weights.features.load_inception` fills it."""

    def __init__(self):
        self.Conv2d_1a_3x3 = ConvNormRelu(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = ConvNormRelu(32, 32, 3, valid=True)
        self.Conv2d_2b_3x3 = ConvNormRelu(32, 64, 3)
        self.Conv2d_3b_1x1 = ConvNormRelu(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvNormRelu(80, 192, 3, valid=True)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = (BlockC(768, c7) for c7 in (128, 160, 160, 192))
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b, self.Mixed_7c = BlockE(1280, maximum=False), BlockE(2048, maximum=True)
        self.fc = Linear(2048, CLASSES, batch_free=True)
        freeze(self)

    def features(self, images: jt.Var, taps: Sequence[str] = ("2048",), quantise: bool = True) -> dict[str, jt.Var]:
        """Return the features of `images` [B, 3, H, W] in [-1, 1], any size, at the named taps of TAPS.

        "64", "192", "768", "2048" are [B, that many]; "logits" and "logits_unbiased" (without the last bias, what the
        Inception Score takes) [B, 1008]; "64-map" [B, 64, 147, 147] lies before the first pool (Shaham et al. 2019).
        """
        return self(preprocess(images, quantise), taps)

    def execute(self, x: jt.Var, taps: Sequence[str] = ("2048",)) -> dict[str, jt.Var]:
        """Return the same of pictures [B, 3, 299, 299] that `preprocess` gave; stops after the last tap asked for."""
        assert taps and set(taps) <= set(TAPS), f"taps are {TAPS}, got {taps}"
        found: dict[str, jt.Var] = {}
        for tap, value in self._walk(x):
            found[tap] = value
            if set(taps) <= set(found):
                break
        return {tap: found[tap] for tap in taps}

    def _walk(self, x: jt.Var):
        """Yield (tap, features) in order; Jittor computes only what is asked for."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))           # [B, 64, 147, 147]
        yield "64-map", x
        x = max_pool(x, 3, 2)                                                       # [B, 64, 73, 73]
        yield "64", mean(x, (2, 3))
        x = max_pool(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)), 3, 2)               # [B, 192, 35, 35]
        yield "192", mean(x, (2, 3))
        x = self.Mixed_6a(self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(x))))           # [B, 768, 17, 17]
        yield "768", mean(x, (2, 3))
        x = mean(self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x))), (2, 3))            # [B, 2048] of 8 x 8
        yield "2048", x
        logits = self.fc(x)
        yield "logits", logits
        yield "logits_unbiased", logits - self.fc.bias


def preprocess(images: jt.Var, quantise: bool = True) -> jt.Var:
    """Return (v - 128) / 128 [B, 3, 299, 299] of the values v in 0..255 of `images` [B, 3, H, W] in [-1, 1].

    `quantise` rounds to the 8 bits that a saved picture has, as every published FID does; gradients end there.
    """
    assert images.ndim == 4 and images.shape[1] == 3, images.shape
    x = images * 127.5 + 128.0
    x = jt.clamp(jt.floor(x), 0.0, 255.0) if quantise else jt.clamp(x - 0.5, 0.0, 255.0)
    return (_resize_rows(_resize_rows(x, 2), 3) - 128.0) * (1.0 / 128.0)


def _resize_rows(x: jt.Var, axis: int) -> jt.Var:
    """Resize one axis to 299 like TensorFlow 1: sample i lies at i * n / 299, no half pixels, no antialiasing."""
    if x.shape[axis] == SIZE:
        return x
    low, high, fraction = (jt.array(part).stop_grad() for part in _positions(x.shape[axis]))
    fraction = fraction.reshape([SIZE if a == axis else 1 for a in range(4)])
    below, above = (x[:, :, low], x[:, :, high]) if axis == 2 else (x[:, :, :, low], x[:, :, :, high])
    return below + (above - below) * fraction


@lru_cache(maxsize=64)
def _positions(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    position = np.arange(SIZE, dtype=np.float32) * np.float32(n / SIZE)
    low = np.minimum(position.astype(np.int32), n - 1)
    return low, np.minimum(low + 1, n - 1), position - low.astype(np.float32)

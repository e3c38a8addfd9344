"""Inception v3 as FID was defined with (Szegedy et al. 2015; Heusel et al. 2017): TensorFlow's network of 2015-12-05.

It differs from torchvision's in its pools (the mean leaves out the padding; the last block takes the maximum), in its
1,008 classes, and in TensorFlow 1's way of resizing. Attribute names are those of pytorch-fid's and torch-fidelity's
weights. One core of an AMD EPYC handles 6.7 pictures a second (PyTorch 5.7; scripts/speed/features.py).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import numpy as np

from jittor_ipl.models.layers import BatchNorm, Conv, Linear, freeze
from jittor_ipl.ops.norms import mean
from jittor_ipl.ops.pool import average_pool, max_pool
from jittor_ipl.runtime.backend import jt, nn

SIZE = 299
TAPS = ("64-map", "64", "192", "768", "2048", "logits_unbiased", "logits")     # torch-fidelity's names but the first
CLASSES = 1008
_ROW, _COLUMN = (1, 7), (7, 1)
_MEAN, _MAXIMUM = partial(average_pool, kernel=3, stride=1, padding=1), partial(max_pool, kernel=3, stride=1, padding=1)
_HALVED = partial(max_pool, kernel=3, stride=2)


class ConvNormRelu(nn.Module):
    """Convolution without bias, batch norm, ReLU; the padding keeps the size unless `valid`."""

    def __init__(self, n_in: int, n_out: int, kernel: int | tuple[int, int], stride: int = 1, valid: bool = False):
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (0, 0) if valid or stride > 1 else (height // 2, width // 2)
        self.conv, self.bn = Conv(n_in, n_out, kernel, stride, padding, bias=False), BatchNorm(n_out, eps=1e-3)

    def execute(self, x: jt.Var) -> jt.Var:
        return nn.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Branches of convolutions side by side, joined by channels; those of a branch are called name_1, name_2, ...

    n_in       channels that come in
    branches   name -> (channels, kernel) of each convolution; a list of two kernels ends a branch in two, "a" and "b"
    pool       what "branch_pool" begins with; where there is no such branch it is one itself, and all of them halve
    """

    def __init__(self, n_in: int, branches: dict[str, tuple], pool: Callable[[jt.Var], jt.Var]):
        self.pool, self.halves, self.names = pool, "branch_pool" not in branches, {}
        for branch, steps in branches.items():
            width, self.names[branch] = n_in, []
            for index, (channels, kernel) in enumerate(steps, 1):
                stride = 2 if self.halves and index == len(steps) else 1
                name = branch if len(steps) == 1 else f"{branch}_{index}"
                forks = {f"{name}a": kernel[0], f"{name}b": kernel[1]} if isinstance(kernel, list) else {name: kernel}
                for fork, size in forks.items():
                    setattr(self, fork, ConvNormRelu(width, channels, size, stride))
                self.names[branch].append(list(forks))
                width = channels

    def execute(self, x: jt.Var) -> jt.Var:
        parts = []
        for branch, steps in self.names.items():
            found = [self.pool(x) if branch == "branch_pool" else x]
            for names in steps:                                                     # two where a branch ends in two
                found = [getattr(self, name)(found[0]) for name in names]
            parts += found
        return jt.concat([*parts, self.pool(x)] if self.halves else parts, dim=1)


def _mixed_5(n_in: int, pool: int) -> Mixed:
    """35 px: a pooled branch of `pool` channels among the convolutions."""
    return Mixed(n_in, {"branch1x1": ((64, 1),), "branch5x5": ((48, 1), (64, 5)),
                        "branch3x3dbl": ((64, 1), (96, 3), (96, 3)), "branch_pool": ((pool, 1),)}, _MEAN)


def _mixed_6(c7: int) -> Mixed:
    """17 px: 7x7 convolutions as rows and columns of `c7` channels."""
    double = (c7, 1), (c7, _COLUMN), (c7, _ROW), (c7, _COLUMN), (192, _ROW)
    return Mixed(768, {"branch1x1": ((192, 1),), "branch7x7": ((c7, 1), (c7, _ROW), (192, _COLUMN)),
                       "branch7x7dbl": double, "branch_pool": ((192, 1),)}, _MEAN)


def _mixed_7(n_in: int, pool: Callable[[jt.Var], jt.Var]) -> Mixed:
    """8 px: 3x3 convolutions split into a row and a column side by side."""
    fork = 384, [(1, 3), (3, 1)]
    return Mixed(n_in, {"branch1x1": ((320, 1),), "branch3x3": ((384, 1), fork),
                        "branch3x3dbl": ((448, 1), (384, 3), fork), "branch_pool": ((192, 1),)}, pool)


class Inception(nn.Module):
    """Pictures to features at the taps of TAPS; frozen, zero until `weights.features.load_inception` fills it."""

    def __init__(self):
        self.Conv2d_1a_3x3 = ConvNormRelu(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = ConvNormRelu(32, 32, 3, valid=True)
        self.Conv2d_2b_3x3 = ConvNormRelu(32, 64, 3)
        self.Conv2d_3b_1x1 = ConvNormRelu(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvNormRelu(80, 192, 3, valid=True)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = _mixed_5(192, 32), _mixed_5(256, 64), _mixed_5(288, 64)
        self.Mixed_6a = Mixed(288, {"branch3x3": ((384, 3),), "branch3x3dbl": ((64, 1), (96, 3), (96, 3))}, _HALVED)
        self.Mixed_6b, self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = map(_mixed_6, (128, 160, 160, 192))
        deep = (192, 1), (192, _ROW), (192, _COLUMN), (192, 3)
        self.Mixed_7a = Mixed(768, {"branch3x3": ((192, 1), (320, 3)), "branch7x7x3": deep}, _HALVED)
        # The last maximum is probably an oversight of the original, but part of what FID means.
        self.Mixed_7b, self.Mixed_7c = _mixed_7(1280, _MEAN), _mixed_7(2048, _MAXIMUM)
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
        x = _HALVED(x)                                                              # [B, 64, 73, 73]
        yield "64", mean(x, (2, 3))
        x = _HALVED(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))                      # [B, 192, 35, 35]
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

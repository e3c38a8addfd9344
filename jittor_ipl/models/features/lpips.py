"""LPIPS, the learned perceptual distance (Zhang et al. 2018), version 0.1, on VGG-16, AlexNet or SqueezeNet 1.1.

Attribute names are torchvision's for the network ("features.0.weight") and the lpips package's for the learned heads
("lin0.model.1.weight"). At 256 px one core of an AMD EPYC handles 2.4 pictures a second with VGG, 56 with the others
(scripts/speed/features.py).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from jittor_ipl.models.layers import Conv, Holder, freeze, in_order
from jittor_ipl.ops.norms import mean
from jittor_ipl.ops.pool import max_pool
from jittor_ipl.runtime.backend import jt, nn

NETS = ("vgg", "alex", "squeeze")
LIBRARIES = ("lpips", "torchmetrics")
# Mean and deviation of ImageNet's pictures, moved from [0, 1] to [-1, 1] and rounded as the original has them.
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
# Layers by their position in torchvision's networks: channels in and out of VGG's 3x3 convolutions, SqueezeNet's units.
_VGG = {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256), 12: (256, 256), 14: (256, 256),
        17: (256, 512), 19: (512, 512), 21: (512, 512), 24: (512, 512), 26: (512, 512), 28: (512, 512)}
_FIRES = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128), 9: (256, 48, 192),
          10: (384, 48, 192), 11: (384, 64, 256), 12: (512, 64, 256)}           # input, squeezed, expanded (twice)
_TAPS = {"vgg": (64, 128, 256, 512, 512), "alex": (64, 192, 384, 256, 256),
         "squeeze": (64, 128, 256, 384, 384, 512, 512)}


class Fire(nn.Module):
    """SqueezeNet's unit: a 1x1 convolution, then a 1x1 and a 3x3 side by side (Iandola et al. 2016)."""

    def __init__(self, n_in: int, narrow: int, wide: int):
        self.squeeze = Conv(n_in, narrow, 1)
        self.expand1x1 = Conv(narrow, wide, 1)
        self.expand3x3 = Conv(narrow, wide, 3, padding=1)

    def execute(self, x: jt.Var) -> jt.Var:
        x = nn.relu(self.squeeze(x))
        return jt.concat([nn.relu(self.expand1x1(x)), nn.relu(self.expand3x3(x))], dim=1)


class Layers(nn.Module):
    """torchvision's `features`: modules under their positions there, and the positions after which a tap lies."""

    def __init__(self, modules: dict[int, Callable], taps: Sequence[int]):
        self.order, self.taps = sorted(modules), tuple(taps)
        for position, module in modules.items():
            setattr(self, str(position), module)

    def execute(self, x: jt.Var) -> list[jt.Var]:
        found = []
        for position in self.order:
            module = getattr(self, str(position))
            x = nn.relu(module(x)) if isinstance(module, Conv) else module(x)       # a ReLU has its own position
            if position in self.taps or (isinstance(module, Conv) and position + 1 in self.taps):
                found.append(x)
        return found


def _halved(kernel: int, ceil: bool = False) -> Callable[[jt.Var], jt.Var]:
    return partial(max_pool, kernel=kernel, stride=2, ceil=ceil)


def _vgg() -> Layers:
    convolutions = {position: Conv(*channels, 3, padding=1) for position, channels in _VGG.items()}
    return Layers(convolutions | {position: _halved(2) for position in (4, 9, 16, 23)}, (3, 8, 15, 22, 29))


def _alex() -> Layers:
    return Layers({0: Conv(3, 64, 11, stride=4, padding=2), 2: _halved(3), 3: Conv(64, 192, 5, padding=2),
                   5: _halved(3), 6: Conv(192, 384, 3, padding=1), 8: Conv(384, 256, 3, padding=1),
                   10: Conv(256, 256, 3, padding=1)}, (1, 4, 7, 9, 11))


def _squeeze() -> Layers:
    modules: dict[int, Callable] = {0: Conv(3, 64, 3, stride=2)}
    modules |= {position: _halved(3, ceil=True) for position in (2, 5, 8)}
    return Layers(modules | {position: Fire(*sizes) for position, sizes in _FIRES.items()},
                  (1, 4, 7, 9, 10, 11, 12))


class Lpips(nn.Module):
    """Distance of pictures; frozen, zero until `weights.features.load_lpips` fills it.

    net       "vgg", "alex" or "squeeze"
    library   whose way of dividing by a feature's length, "lpips" (length + 1e-10) or "torchmetrics" (root of squared
              length + 1e-8); they differ where a picture's features are nearly zero
    """

    def __init__(self, net: str, library: str = "lpips"):
        assert net in NETS and library in LIBRARIES, (net, library)
        self.net, self.library = net, library
        self.features = {"vgg": _vgg, "alex": _alex, "squeeze": _squeeze}[net]()
        for k, channels in enumerate(_TAPS[net]):
            # The learned weight of each channel, under the name that a dropout and a convolution give it.
            setattr(self, f"lin{k}", Holder(model=in_order(**{"1": Conv(channels, 1, 1, bias=False)})))
        freeze(self)

    def execute(self, a: jt.Var, b: jt.Var) -> jt.Var:
        """Return the distance [B] of pictures `a` and `b` [B, 3, H, W] in [-1, 1]; differentiable."""
        return self.distance(self.embed(a), self.embed(b))

    def embed(self, images: jt.Var) -> list[jt.Var]:
        """Return the features of `images` [B, 3, H, W], of unit length at every place: one [B, C, h, w] per tap.

        For many distances between few pictures: embed each once, then `distance`.
        """
        assert images.ndim == 4 and images.shape[1] == 3, images.shape
        return [self._unit(x) for x in self.features((images - _channel(_SHIFT)) / _channel(_SCALE))]

    def distance(self, a: Sequence[jt.Var], b: Sequence[jt.Var]) -> jt.Var:
        """Return the distance [B] of two results of `embed`; either may have a batch of one."""
        return sum(self.per_layer(a, b))

    def per_layer(self, a: Sequence[jt.Var], b: Sequence[jt.Var]) -> list[jt.Var]:
        """Return each tap's share [B] of `distance`."""
        shares = []
        for x, y, weight in zip(a, b, self.channel_weights()):
            difference = x - y
            shares.append(mean((difference * difference * weight).sum(1), (1, 2)))      # mean of [B, h, w]
        return shares

    def channel_weights(self) -> list[jt.Var]:
        """Return the learned weights [1, channels, 1, 1] of each tap."""
        return [getattr(self, f"lin{k}").model[0].weight for k in range(len(self.features.taps))]

    def _unit(self, x: jt.Var) -> jt.Var:
        squared = (x * x).sum(1, keepdims=True)
        # The root's slope is infinite at zero, where a ReLU often is; the floor is far below the added constant.
        lpips = self.library == "lpips"
        return x / (jt.sqrt(jt.maximum(squared, 1e-30)) + 1e-10 if lpips else jt.sqrt(squared + 1e-8))


def _channel(values: tuple[float, float, float]) -> jt.Var:
    return jt.array(np.array(values, np.float32).reshape(1, 3, 1, 1)).stop_grad()

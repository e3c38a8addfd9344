"""How well a picture is reproduced, for projection and tuning: a perceptual distance and differences of pixels."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jittor_ipl.losses import regression
from jittor_ipl.ops.norms import mean
from jittor_ipl.ops.pool import average_pool
from jittor_ipl.ops.resize import resize
from jittor_ipl.runtime.backend import jt

SEEN = 256          # px: larger pictures are averaged down to it before a perceptual network, as the projector does


class Perceptual(Protocol):
    """A differentiable perceptual network, such as `models.features.lpips.Lpips`."""

    def embed(self, images: jt.Var) -> Sequence[jt.Var]:
        """Return the features of pictures [B, 3, H, W] in [-1, 1]."""

    def distance(self, a: Sequence[jt.Var], b: Sequence[jt.Var]) -> jt.Var:
        """Return the distance [B] of two results of `embed`."""


class Edges:
    """Stands in where no perceptual network is given: pixels, their neighbours' differences, and both at a quarter.

    No judge is asked: what measures a result must not have made it.
    """

    name = "pixels and edges at two scales (no LPIPS weights were given)"

    def embed(self, images: jt.Var) -> list[jt.Var]:
        """Return the pictures themselves."""
        return [images]

    def distance(self, a: Sequence[jt.Var], b: Sequence[jt.Var]) -> jt.Var:
        """Return `losses.regression` of one picture each, [1]."""
        return regression(a[0], b[0])


class Matching:
    """The distance of drawn pictures to one target [1, 3, H, W] in [-1, 1].

    pixels, perceptual   weights of the mean squared difference (at full size) and of the network's distance
    """

    def __init__(self, target: jt.Var, network: Perceptual, pixels: float, perceptual: float = 1.0):
        self.target, self.network, self.pixels, self.perceptual = target, network, pixels, perceptual
        with jt.no_grad():
            self.features = [feature.stop_grad() for feature in network.embed(seen(target))]
        jt.sync(self.features)

    def terms(self, images: jt.Var) -> dict[str, jt.Var]:
        """Return "pixels", the mean squared difference, and "perceptual", both [1], of pictures [1, 3, H, W]."""
        apart = images - self.target
        far = self.network.distance(self.network.embed(seen(images)), self.features)
        return {"pixels": mean(apart * apart), "perceptual": mean(far)}

    def loss(self, terms: dict[str, jt.Var]) -> jt.Var:
        """Return the weighted sum of `terms`, [1]."""
        return self.pixels * terms["pixels"] + self.perceptual * terms["perceptual"]


def seen(images: jt.Var) -> jt.Var:
    """Return pictures [B, 3, H, W] averaged down to `SEEN` pixels; smaller ones as they are."""
    side = images.shape[2]
    if side <= SEEN:
        return images
    return average_pool(images, side // SEEN, side // SEEN) if side % SEEN == 0 else \
        resize(images, SEEN, "bilinear", antialias=True)

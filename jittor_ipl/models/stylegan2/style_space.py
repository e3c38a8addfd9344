"""The style space of StyleGAN2 (Wu et al. 2021): which layer owns which of the numbers of an S code.

Files count the layers of a generator from coarse to fine: the 4 px convolution and ToRGB, then per resolution the
upsampling convolution, the second convolution and ToRGB. A style has as many numbers as its layer has input channels.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jittor_ipl.models.stylegan2.config import SIZES, default_channels

LAST_EDITED = 16            # StyleCLIP measures directions up to this layer, the last one of 128 px
SUBSETS = ("convolutions", "convolutions to 128 px", "all layers")


@dataclass(frozen=True)
class StyleLayer:
    """One style: the generator's layer under rosinality's name, its resolution, channels, and whether it is a ToRGB."""

    name: str
    resolution: int
    channels: int
    rgb: bool


def style_space(size: int, channel_multiplier: int = 2, channels: Mapping[int, int] | None = None) -> list[StyleLayer]:
    """Return the layers of a `size` px generator in file order: 26 with 9,088 numbers for 1024 px config-f."""
    c = channels or default_channels(size, channel_multiplier)
    layers = [StyleLayer("conv1", 4, c[4], False), StyleLayer("to_rgb1", 4, c[4], True)]
    for index, r in enumerate(r for r in SIZES if r <= size):
        layers += [StyleLayer(f"convs.{2 * index}", r, c[r // 2], False),
                   StyleLayer(f"convs.{2 * index + 1}", r, c[r], False), StyleLayer(f"to_rgbs.{index}", r, c[r], True)]
    return layers


def size_of(layers: int) -> int | None:
    """Return the picture size of a generator with so many style layers (26 is 1024 px), None without one."""
    return next((size for size in SIZES if len(style_space(size)) == layers), None)


def subset(layers: list[StyleLayer], name: str) -> list[int]:
    """Return the positions of the layers in a subset of SUBSETS."""
    assert name in SUBSETS, name
    return [i for i, layer in enumerate(layers) if name == "all layers" or (
        not layer.rgb and (name == "convolutions" or i <= LAST_EDITED))]


def rows(layers: list[StyleLayer], name: str) -> int:
    """Return how many numbers the layers of a subset have together: 6048, 5376 or 9088 for 1024 px config-f."""
    return sum(layers[i].channels for i in subset(layers, name))


def fits(directions: int) -> dict[str, list[str]]:
    """Return {subset: generators} that global directions with so many rows belong to; empty when there is none."""
    found: dict[str, list[str]] = {}
    for size in SIZES:
        for multiplier, label in ((2, "f"), (1, "e")):
            layers = style_space(size, multiplier)
            for name in SUBSETS:
                if rows(layers, name) == directions:
                    found.setdefault(name, []).append(f"{size} px config-{label}")
    return found

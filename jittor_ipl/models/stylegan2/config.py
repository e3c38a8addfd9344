"""The numbers of a StyleGAN2 generator, and what they imply without building one (no Jittor)."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jittor_ipl.errors import UserError

SIZES = tuple(2**i for i in range(3, 11))
LATENT_AVG = "latent_avg"       # the mean w that a file may carry beside the network's tensors


@dataclass(frozen=True)
class GeneratorConfig:
    """The numbers of a `Generator`, as its files save them; raises UserError for numbers that make no generator."""

    size: int                                       # side of the pictures in pixels: 8..1024, a power of two
    style_dim: int = 512                            # width of z, w and the mapping network
    n_mlp: int = 8                                  # layers of the mapping network
    channels: Mapping[int, int] | None = None       # {4: .., 8: .., ..., size: ..}; those of config-f when None
    lr_mlp: float = 0.01                            # learning-rate factor of the mapping, part of its arithmetic
    conv_clamp: float | None = None                 # bound of every layer's output (NVIDIA's networks for limited data)

    def __post_init__(self) -> None:
        levels = resolutions(check_size(self.size))
        table = default_channels(self.size) if self.channels is None else self.channels
        table = {int(r): int(c) for r, c in table.items()}
        if sorted(table) != levels:
            raise UserError(f"channels name the resolutions {sorted(table)}, a {self.size} px generator needs {levels}")
        if min(table.values()) < 1:
            raise UserError(f"channels must be positive, not {table}")
        object.__setattr__(self, "channels", table)
        for name in ("lr_mlp", "conv_clamp"):
            value = getattr(self, name)
            if value is None and name == "conv_clamp":
                continue
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e6:
                raise UserError(f"the stored {name} is not a positive number")
            object.__setattr__(self, name, float(value))

    def to_json(self) -> dict[str, Any]:
        """Return the numbers such that `GeneratorConfig(**numbers)` is the same, ready for JSON."""
        # Sizes stay whole numbers: as text, sorted keys would put 16 before 4.
        return {name: value for name, value in vars(self).items() if value is not None}


def check_size(size: int) -> int:
    """Return `size` when generators of that size exist; UserError otherwise."""
    if size not in SIZES:
        raise UserError(f"a StyleGAN2 generator for {size!r} px pictures; 8 to 1024 px (powers of two) are supported")
    return size


def resolutions(size: int) -> list[int]:
    """Return 4, 8, ..., size."""
    return [2**i for i in range(2, size.bit_length())]


def noise_sizes(size: int) -> list[int]:
    """Return the side of every noise map, one per styled convolution: 4, 8, 8, 16, 16, ..., size, size."""
    return [4] + [r for r in resolutions(size)[1:] for _ in range(2)]


def default_channels(size: int, channel_multiplier: int = 2) -> dict[int, int]:
    """Return channels per resolution: 512 up to 32 px, then halved per level (multiplier 2 is config-f, 1 config-e)."""
    return {r: min(512, 16384 * channel_multiplier // r) if r > 32 else 512 for r in resolutions(size)}


def blur_kernel() -> np.ndarray:
    """Return the [1, 3, 3, 1] filter as float32 [4, 4] whose sum is 4, the gain of upsampling by two."""
    return np.outer((1, 3, 3, 1), (1, 3, 3, 1)).astype(np.float32) / 16

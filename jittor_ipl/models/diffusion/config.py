"""The numbers of Stable Diffusion's networks, which are also their config.json. No Jittor is needed here.

Field names are diffusers' (of UNet2DConditionModel and AutoencoderKL), lists spelled out with one entry a block.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

CROSS_DOWN, PLAIN_DOWN = "CrossAttnDownBlock2D", "DownBlock2D"
CROSS_UP, PLAIN_UP = "CrossAttnUpBlock2D", "UpBlock2D"


class _FromJson:
    """What both configurations share: reading from and writing to JSON."""

    @classmethod
    def from_json(cls, numbers: Mapping[str, Any]):
        """Return the configuration with these checked numbers; names that are none of its own are passed over."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: tuple(value) if isinstance(value, list) else value
                      for name, value in numbers.items() if name in known})

    def to_json(self) -> dict[str, Any]:
        """Return the numbers, ready for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}


@dataclass(frozen=True)
class UNetConfig(_FromJson):
    """A UNet2DConditionModel (Rombach et al. 2022, section 3.3); the defaults are Stable Diffusion 2.1's."""

    in_channels: int = 4                                    # of the noisy latents
    out_channels: int = 4                                   # of what is predicted
    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    down_block_types: tuple[str, ...] = (CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, PLAIN_DOWN)
    up_block_types: tuple[str, ...] = (PLAIN_UP, CROSS_UP, CROSS_UP, CROSS_UP)
    layers_per_block: tuple[int, ...] = (2, 2, 2, 2)        # ResNet blocks a level; one more on the way up
    transformer_layers_per_block: tuple[int, ...] = (1, 1, 1, 1)
    cross_attention_dim: tuple[int, ...] = (1024, 1024, 1024, 1024)     # width of the text states
    attention_head_dim: tuple[int, ...] = (5, 10, 20, 20)   # the number of heads, in spite of its name
    norm_num_groups: int = 32                               # of every group norm
    norm_eps: float = 1e-5                                  # of the ResNet blocks' group norms
    conv_in_kernel: int = 3
    conv_out_kernel: int = 3
    use_linear_projection: bool = True                      # into and out of a transformer; else 1x1 convolutions
    flip_sin_to_cos: bool = True                            # cosines of the timestep first
    freq_shift: float = 0                                   # of the timestep's frequencies
    sample_size: int = 96                                   # side of the latents that it was trained on
    addition_embed_type: str | None = None                  # "text": pooled text states join the timestep
    addition_embed_type_num_heads: int = 64                 # of that pooling

    @property
    def factor(self) -> int:
        """What the sides of latents must be a multiple of."""
        return 2 ** (len(self.block_out_channels) - 1)

    @property
    def time_width(self) -> int:
        """Width of the timestep's embedding."""
        return 4 * self.block_out_channels[0]


@dataclass(frozen=True)
class VaeConfig(_FromJson):
    """An AutoencoderKL (Rombach et al. 2022, section 3.1); the defaults are Stable Diffusion's."""

    in_channels: int = 3
    out_channels: int = 3
    latent_channels: int = 4
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)
    layers_per_block: int = 2                               # ResNet blocks a level; one more in the decoder
    norm_num_groups: int = 32
    scaling_factor: float = 0.18215                         # brings latents to about unit deviation

    @property
    def factor(self) -> int:
        """How many pixels of a side one latent stands for."""
        return 2 ** (len(self.block_out_channels) - 1)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers and what diffusers says of the blocks, of which there is one kind a way."""
        depth = len(self.block_out_channels)
        return {**super().to_json(), "down_block_types": ["DownEncoderBlock2D"] * depth,
                "up_block_types": ["UpDecoderBlock2D"] * depth}

"""The numbers of a CLIP, which are also its saved configuration. No Jittor is needed here."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)     # of CLIP's training images in [0, 1], per channel
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


@dataclass(frozen=True)
class ClipConfig:
    """Both towers of a CLIP (Radford et al. 2021, section 2.4 and 2.5) and what they expect of pictures and texts."""

    embed_dim: int                              # width of the space that images and texts share
    image_resolution: int                       # side of the square the image tower sees
    vision_layers: int | Sequence[int]          # blocks of the vision transformer, or of a ResNet's four stages
    vision_width: int                           # channels of a vision transformer's tokens, or of the ResNet's stem
    vision_patch_size: int | None = None        # side of a patch; None for the ResNet
    context_length: int = 77                    # longest text, start and end token included
    vocab_size: int = 49408                     # number of token ids
    transformer_width: int = 512                # channels of the text transformer's tokens
    transformer_heads: int = 8                  # attention heads of the text transformer
    transformer_layers: int = 12                # blocks of the text transformer
    norm: str = "batch"                         # ResNet: "batch" (stored statistics) or "group" (trains from scratch)
    vision_heads: int | None = None             # attention heads of the image tower; one per 64 channels when None
    vision_mlp: int | None = None               # channels inside the vision transformer's MLPs; 4 x the width when None
    transformer_mlp: int | None = None          # the same of the text transformer
    activation: str = "quick_gelu"              # of the MLPs: "quick_gelu" (OpenAI) or "gelu" (most of OpenCLIP)
    eps: float = 1e-5                           # of the layer norms
    end_token: int | None = None                # its place holds a text's feature; OpenAI's, the highest id, when None
    image_mean: Sequence[float] | None = None   # of the training images in [0, 1], per channel; OpenAI's when None
    image_std: Sequence[float] | None = None    # their standard deviation

    def __post_init__(self) -> None:
        """Bring equal configurations to one form: tuples, where JSON has lists, and the heads that None stands for."""
        heads = self.vision_heads or max(1, self.vision_channels // 64)
        for name, value in {**vars(self), "vision_heads": heads}.items():
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        for value in (self.image_mean, self.image_std):
            assert value is None or len(value) == 3, f"one number per colour channel is expected, got {value}"

    @property
    def is_resnet(self) -> bool:
        """Whether the image tower is the modified ResNet, not the vision transformer."""
        return not isinstance(self.vision_layers, int)

    @property
    def vision_channels(self) -> int:
        """Channels that the image tower's attention works on."""
        return self.vision_width * (32 if self.is_resnet else 1)

    def normalisation(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and standard deviation, float32 [3] each, that images in [0, 1] are normalised with."""
        return (MEAN if self.image_mean is None else np.float32(self.image_mean),
                STD if self.image_std is None else np.float32(self.image_std))


@dataclass(frozen=True)
class TextConfig:
    """A text tower alone, as Stable Diffusion has one; names and defaults are those of `ClipConfig`."""

    context_length: int = 77
    vocab_size: int = 49408
    transformer_width: int = 512
    transformer_heads: int = 8
    transformer_layers: int = 12
    transformer_mlp: int | None = None
    activation: str = "quick_gelu"
    eps: float = 1e-5
    end_token: int | None = None
    embed_dim: int | None = None        # width of a text's one feature; None without the projection to it

"""A small encoder of small pictures: one pass from a picture to its w, for generators of which such pairs are known."""
from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.layers import Conv, GroupNorm, Linear
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.ops.pool import average_pool
from jittor_ipl.runtime.backend import jt, nn

CELLS = 4       # side of the last map


@dataclass(frozen=True)
class CompactConfig:
    """The numbers of a `CompactEncoder`, as its files save them; UserError for numbers that make no encoder."""

    size: int = 64                                  # side of the pictures in pixels: a power of two
    style_dim: int = 128                            # numbers of a code
    widths: tuple[int, ...] = (32, 48, 96, 128)     # channels at half the side, a quarter, ... down to 4 cells
    hidden: int = 256                               # of the layer before the code
    groups: int = 4                                 # of the group norms

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        if self.size != CELLS << len(self.widths) or any(width % self.groups for width in self.widths):
            raise UserError(f"no compact encoder has {self.size} px pictures with the widths {list(self.widths)} in "
                            f"{self.groups} groups")

    def to_json(self) -> dict[str, Any]:
        """Return the numbers such that `CompactConfig(**numbers)` is the same, ready for JSON."""
        return {**asdict(self), "widths": list(self.widths)}


class _Block(nn.Module):
    """Two 3x3 convolutions with group norms beside a 1x1 one, [B, c_in, H, W] -> [B, c_out, H, W]."""

    def __init__(self, c_in: int, c_out: int, groups: int):
        self.conv1, self.norm1 = Conv(c_in, c_out, 3, padding=1, bias=False), GroupNorm(groups, c_out)
        self.conv2, self.norm2 = Conv(c_out, c_out, 3, padding=1, bias=False), GroupNorm(groups, c_out)
        self.skip = Conv(c_in, c_out, 1, bias=False)

    def execute(self, x: jt.Var) -> jt.Var:
        y = nn.relu(self.norm1(self.conv1(x)))
        return nn.relu(self.norm2(self.conv2(y)) + self.skip(x))


class CompactEncoder(nn.Module):
    """Pictures [B, 3, size, size] in [-1, 1] to w [B, style_dim]; zero until it is loaded or `initialise`d."""

    def __init__(self, config: CompactConfig):
        self.config, widths = config, config.widths
        self.stem = Conv(3, widths[0], 4, stride=2, padding=1)
        self.blocks = nn.ModuleList([_Block(before, after, config.groups)
                                     for before, after in zip((widths[0], *widths), widths)])
        self.fc = Linear(widths[-1] * CELLS**2, config.hidden)
        self.head = Linear(config.hidden, config.style_dim)

    def execute(self, images: jt.Var) -> jt.Var:
        size = self.config.size
        assert tuple(images.shape[1:]) == (3, size, size), images.shape
        x = self.stem(images)
        for index, block in enumerate(self.blocks):
            x = block(average_pool(x, 2, 2) if index else x)
        return self.head(nn.relu(self.fc(x.reshape(x.shape[0], -1))))

    def code(self, picture: np.ndarray, layers: int) -> np.ndarray:
        """Return ws float32 [layers, style_dim], one code for all, of a picture float32 [1, 3, size, size]."""
        with jt.no_grad():
            w = self(jt.array(picture)).numpy()
        return np.repeat(w, layers, axis=0)


def initialise(encoder: CompactEncoder, rng: np.random.Generator, mean_w: np.ndarray) -> CompactEncoder:
    """Draw He-normal weights; the encoder begins near the mean w [style_dim]."""
    for name, var in named_tensors(encoder).items():
        shape = tuple(var.shape)
        if len(shape) > 1:
            gain = np.sqrt(2 / np.prod(shape[1:])) * (.1 if name.startswith("head") else 1)
            value = gain * rng.standard_normal(shape)
        else:
            value = mean_w if name == "head.bias" else np.full(shape, ".norm" in name and name.endswith("weight"))
        var.assign(jt.array(np.asarray(value, np.float32)))
    return encoder

"""Where a style's pictures lie in the autoencoder's latents, as a change of the prompt's features.

From a published entry to the Jittor challenge (f-chen165/jittor--AI---): its layers, under its names, for any model.
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.layers import Conv, GroupNorm
from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.runtime.backend import jt, nn

HIDDEN = 38                 # channels between the convolutions, 77 // 2
GROUPS = (4, 19, 2)         # of the three group norms


class StyleProjection(nn.Module):
    """Three convolutions behind group norm and SiLU: statistics [1, 2c, h, w] -> prompt features [1, length, width].

    The convolutions halve the sides as often as they must, at most once each, until a map of theirs divides `width`:
    for Stable Diffusion 2.1 at 512 px once ([8, 64, 64] -> [77, 32, 32] -> 77 x 1024), for 1.5 twice
    ([231, 16, 16] -> 77 x 768), for the demo world's model never ([2c, 8, 8] -> [80, 8, 8] -> 40 x 128). Raises
    UserError when none does.

    latents   channels, height and width of the latents
    length    tokens of a prompt
    width     of their features
    """

    def __init__(self, latents: tuple[int, int, int], length: int, width: int):
        channels, height, sides = latents[0], latents[1], latents[1:]
        for halved in range(4):
            if width % math.prod(sides) == 0:
                break
            sides = tuple((side + 1) // 2 for side in sides)
        else:
            raise UserError(f"the style feature has no convolutions from latents {height} high to prompts {width} "
                            "wide; train at another resolution (512 for Stable Diffusion), or turn feature.on off")
        self.shape = length, width
        strides = [2 if index < halved else 1 for index in range(3)]
        widths = [2 * channels, HIDDEN, HIDDEN, length * (width // math.prod(sides))]
        for index, (groups, stride) in enumerate(zip(GROUPS, strides), 1):
            n_in, n_out = widths[index - 1:index + 1]
            setattr(self, f"bn{index}", GroupNorm(groups, n_in, silu=True))
            setattr(self, f"conv{index}", Conv(n_in, n_out, 3, stride, padding=1))

    def execute(self, statistics: jt.Var) -> jt.Var:
        """Return the features [1, length, width] of `style_statistics` [1, 2c, h, w]."""
        x = self.conv1(self.bn1(statistics))
        x = self.conv2(self.bn2(x))
        return self.conv3(self.bn3(x)).reshape(1, *self.shape)

    def initialise(self, rng: np.random.Generator) -> StyleProjection:
        """Draw the layers as PyTorch does, but for the first convolution, which is zero as published; returns self.

        Until it has learnt, every style has one and the same feature, from the biases behind it.
        """
        values = {name: var.numpy() for name, var in named_tensors(self).items()}
        for index in (2, 3):
            bound = 1 / math.sqrt(math.prod(values[f"conv{index}.weight"].shape[1:]))
            for name in (f"conv{index}.weight", f"conv{index}.bias"):
                values[name] = rng.uniform(-bound, bound, values[name].shape).astype(np.float32)
        load_into(self, values, source="initialisation")
        return self


def style_statistics(moments: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return deviation and mean of the latents, in this order, as means over pictures, float32 [1, 2c, h, w].

    `moments` are (mean, log-variance) [c, h, w] of each picture, not scaled (`Vae.moments`).
    """
    means, deviations = zip(*((mean, np.exp(0.5 * log_variance)) for mean, log_variance in moments))
    return np.concatenate([np.mean(deviations, 0), np.mean(means, 0)])[None].astype(np.float32)

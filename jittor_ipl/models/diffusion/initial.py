"""First values of the diffusion networks, for training them from nothing."""
from __future__ import annotations

import math
import re

import numpy as np

from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.runtime.backend import nn

_NORM = re.compile(r"(.*\.)?(norm\w*|group_norm|conv_norm_out)\.weight")
# Residual branches and the last layer start at zero, as in the original code: the network begins as the identity.
_ZERO = re.compile(r".*\.conv2\.weight|.*\.proj_out\.weight|conv_out\.weight")


def initialise(network: nn.Module, rng: np.random.Generator) -> nn.Module:
    """Draw every tensor of a `UNet` or `Vae`: PyTorch's default uniform weights, zero biases and residual ends.

    The autoencoder's own last convolutions are drawn, too: "conv_out" at the root is the U-Net's alone.
    """
    values = {}
    for name, var in sorted(named_tensors(network).items()):
        shape = tuple(var.shape)
        if _NORM.fullmatch(name):
            values[name] = np.ones(shape, np.float32)
        elif len(shape) < 2 or _ZERO.fullmatch(name):
            values[name] = np.zeros(shape, np.float32)
        else:
            bound = 1 / math.sqrt(math.prod(shape[1:]))
            values[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
    load_into(network, values, source="initialisation")
    return network

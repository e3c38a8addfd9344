"""First values of an encoder, for training it from nothing."""
from __future__ import annotations

import math

import numpy as np

from jittor_ipl.models.encoders.encoder import InversionEncoder
from jittor_ipl.models.features.arcface import PReLU
from jittor_ipl.models.layers import BatchNorm, Conv, Linear
from jittor_ipl.models.stylegan2.layers import EqualLinear
from jittor_ipl.runtime.backend import jt, nn

_SLOPE = 0.25       # of a new PReLU


def initialise(encoder: InversionEncoder, rng: np.random.Generator) -> InversionEncoder:
    """Draw every tensor as PyTorch does it for the published classes: uniform weights and biases, normal equal ones.

    Convolutions and linear layers U(-1/sqrt(n), 1/sqrt(n)) for n numbers that a cell sees; equalised layers N(0, 1) and
    biases 0; norms scale by one.
    """
    _draw(encoder, rng)
    return encoder


def _draw(module: nn.Module, rng: np.random.Generator) -> None:
    if isinstance(module, (Conv, Linear)):
        bound = 1 / math.sqrt(math.prod(module.weight.shape[1:]))
        for var in (module.weight, module.bias):
            if var is not None:
                _put(var, rng.uniform(-bound, bound, tuple(var.shape)))
    elif isinstance(module, EqualLinear):
        _put(module.weight, rng.standard_normal(tuple(module.weight.shape)))
    elif isinstance(module, PReLU):
        _put(module.weight, np.full(tuple(module.weight.shape), _SLOPE))
    elif not isinstance(module, BatchNorm):
        for child in module.children():
            _draw(child, rng)


def _put(var: jt.Var, value: np.ndarray) -> None:
    var.update(jt.array(value.astype(np.float32)))
    var.start_grad()

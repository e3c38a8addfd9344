"""Noise maps that are fitted with a picture, and kept from drawing it (Karras et al. 2020, appendix D.1)."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jittor_ipl.ops.norms import mean
from jittor_ipl.ops.pool import average_pool
from jittor_ipl.runtime.backend import jt

SMALLEST = 8        # side down to which a map is halved again and again


def autocorrelation(maps: Sequence[jt.Var]) -> jt.Var:
    """Return the sum over maps [1, 1, r, r] and their halvings of the squared mean products of neighbours, [1].

    Of white noise it is about 0; signal in a map, at whatever scale, raises it. Maps end where they begin, as a torus.
    """
    total = 0.0
    for noise in maps:
        while True:
            for axis in (2, 3):
                product = mean(noise * _turned(noise, axis))
                total = total + product * product
            if noise.shape[2] <= SMALLEST:
                break
            noise = average_pool(noise, 2, 2)
    return total


def _turned(x: jt.Var, axis: int) -> jt.Var:
    """Return `x` moved on by one along an axis, the last in front."""
    return jt.concat([x[:, :, -1:], x[:, :, :-1]] if axis == 2 else [x[..., -1:], x[..., :-1]], dim=axis)


def standardised(values: np.ndarray) -> np.ndarray:
    """Return a map of any shape with mean 0 and mean square 1: what every step of the projector ends with."""
    centred = values - values.mean(dtype=np.float64)
    scale = np.sqrt(np.square(centred).mean(dtype=np.float64))
    return (centred / np.maximum(scale, 1e-12)).astype(np.float32)

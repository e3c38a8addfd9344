"""Pools over windows and their gradients against the definition, in every geometry that the networks use."""
from __future__ import annotations

import numpy as np
import pytest

from jittor_ipl.ops.pool import average_pool, max_pool
from jittor_ipl.runtime.backend import jt

WINDOWS = [(7, 3, 2, 0, False), (7, 3, 1, 1, False), (6, 2, 2, 0, False), (3, 3, 2, 0, False), (8, 3, 2, 0, True),
           (4, 3, 2, 1, True)]


def definition(x: np.ndarray, k: int, s: int, p: int, ceil: bool) -> tuple[np.ndarray, list[tuple[slice, slice]]]:
    """Return the maxima of one plane, and every window cut to the picture."""
    free = len(x) + 2 * p - k
    n = free // s + 1 + (ceil and free % s > 0 and (free // s + 1) * s < len(x) + p)
    along = [slice(max(i * s - p, 0), i * s - p + k) for i in range(n)]
    windows = [(rows, columns) for rows in along for columns in along]
    return np.array([x[window].max() for window in windows]).reshape(n, n), windows


@pytest.mark.parametrize("size, k, s, p, ceil", WINDOWS)
def test_maximum(size: int, k: int, s: int, p: int, ceil: bool) -> None:
    x = np.random.default_rng(0).standard_normal((1, 2, size, size)).astype(np.float32)
    var = jt.array(x)
    y = max_pool(var, k, s, p, ceil)
    weight = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    gradient = jt.grad((y * jt.array(weight)).sum(), var).numpy()
    for channel in range(2):
        maxima, windows = definition(x[0, channel], k, s, p, ceil)
        np.testing.assert_array_equal(y.numpy()[0, channel], maxima)
        expected = np.zeros((size, size))
        for window, value, g in zip(windows, maxima.ravel(), weight[0, channel].ravel()):
            expected[window] += g * (x[0, channel][window] == value)
        np.testing.assert_allclose(gradient[0, channel], expected, atol=1e-6)


@pytest.mark.parametrize("size, k, s, p", [window[:4] for window in WINDOWS if not window[4]])
def test_mean_leaves_the_padding_out(size: int, k: int, s: int, p: int) -> None:
    x = np.random.default_rng(2).standard_normal((2, 1, size, size)).astype(np.float32)
    var = jt.array(x)
    y = average_pool(var, k, s, p)
    weight = np.random.default_rng(3).standard_normal(y.shape).astype(np.float32)
    gradient = jt.grad((y * jt.array(weight)).sum(), var).numpy()
    for image in range(2):
        windows = definition(x[image, 0], k, s, p, False)[1]
        means = [x[image, 0][window].mean() for window in windows]
        np.testing.assert_allclose(y.numpy()[image, 0].ravel(), means, atol=1e-6)
        expected = np.zeros((size, size))
        for window, g in zip(windows, weight[image, 0].ravel()):
            expected[window] += g / expected[window].size
        np.testing.assert_allclose(gradient[image, 0], expected, atol=1e-6)


def test_a_window_larger_than_the_picture_is_refused() -> None:
    with pytest.raises(AssertionError, match="fewer than the window"):
        max_pool(jt.zeros((1, 1, 2, 2)), 3, 2)

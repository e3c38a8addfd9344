"""Products in bfloat16: rounding bit for bit, values and gradients against float64 products of rounded numbers."""
from __future__ import annotations

import numpy as np
import pytest

from jittor_ipl.ops import bfloat16, conv
from jittor_ipl.runtime.backend import jt, nn


def to_bfloat16(x: np.ndarray) -> np.ndarray:
    """Return the nearest numbers of eight significant bits, ties to even: NumPy's view of the bits."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32).astype(np.uint64)
    low, kept = bits & 0xffff, bits >> 16
    up = (low > 0x8000) | ((low == 0x8000) & (kept % 2 == 1))
    return ((kept + up) << 16).astype(np.uint32).view(np.float32)


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def test_rounding_is_bit_for_bit():
    bits = np.random.RandomState(0).randint(0, 2**32, 200_000, dtype=np.uint64).astype(np.uint32)
    ties = (np.arange(65536, dtype=np.uint32) << 16) | 0x8000
    x = np.concatenate([bits, ties, ties - 1, ties + 1]).view(np.float32)
    x = x[~np.isnan(x)]
    assert bfloat16.rounded(jt.array(x)).numpy().tobytes() == to_bfloat16(x).tobytes()
    ends = bfloat16.rounded(jt.array(np.float32([np.nan, np.inf, -np.inf, 3.4e38, -0.0]))).numpy()
    assert np.isnan(ends[0]) and ends[1] == ends[3] == np.inf and ends[2] == -np.inf and np.signbit(ends[4])


def test_what_is_rounded_already_stays():
    x = to_bfloat16(draw(0, 1000))
    assert bfloat16.rounded(jt.array(x)).numpy().tobytes() == x.tobytes()


@pytest.mark.parametrize("shape", [(5, 67), (2, 3, 67)])
def test_a_linear_product(shape):
    x, w, g = draw(0, *shape), draw(1, 9, 67), draw(2, *shape[:-1], 9)
    variables = jt.array(x), jt.array(w)
    y = bfloat16.matmul_transpose(*variables)
    dx, dw = (d.numpy() for d in jt.grad((y * jt.array(g)).sum(), list(variables)))
    rx, rw, rg = (to_bfloat16(v).astype(np.float64) for v in (x, w, g))
    rows, gradients = rx.reshape(-1, 67), rg.reshape(-1, 9)
    for got, want in ((y.numpy(), rx @ rw.T), (dx, rg @ rw), (dw, gradients.T @ rows)):
        assert got.shape == want.shape and np.abs(got - want).max() < 1e-6 * np.abs(want).max()


@pytest.mark.parametrize("name,w_shape", [("conv2d", (6, 5, 3, 3)), ("conv_transpose2d", (5, 6, 3, 3))])
def test_convolutions(name, w_shape):
    x, w = draw(0, 2, 5, 9, 7), draw(1, *w_shape)
    results = []
    for operator, form in ((getattr(bfloat16, name), lambda v: v), (getattr(conv, name), to_bfloat16)):
        variables = jt.array(form(x)), jt.array(form(w))
        y = operator(*variables)
        g = jt.array(form(draw(2, *y.shape)))
        results.append([v.numpy() for v in (y, *jt.grad((y * g).sum(), list(variables)))])
    for got, want in zip(*results):
        assert np.array_equal(got, want)


def test_a_constant_weight_has_no_gradient_and_costs_none():
    x, w = jt.array(draw(0, 4, 8)), jt.array(draw(1, 3, 8)).stop_grad()
    assert bfloat16.rounded(w).is_stop_grad()
    y = bfloat16.matmul_transpose(x, w)
    want = np.ones((4, 3)) @ to_bfloat16(w.numpy()).astype(np.float64)
    assert np.abs(jt.grad(y.sum(), x).numpy() - want).max() < 1e-5


def test_the_error_is_that_of_eight_bits():
    x, w = draw(0, 64, 512), draw(1, 64, 512)
    exact = x.astype(np.float64) @ w.T.astype(np.float64)
    error = np.abs(bfloat16.matmul_transpose(jt.array(x), jt.array(w)).numpy() - exact).std() / exact.std()
    plain = np.abs(nn.matmul_transpose(jt.array(x), jt.array(w)).numpy() - exact).std() / exact.std()
    print(f"bfloat16 {error:.1e}, float32 {plain:.1e}")
    assert 1e-4 < error < 2**-8 and plain < 1e-6

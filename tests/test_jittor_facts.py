"""The surprises of Jittor 1.3.11 that this project works around, each shown once; docs/jittor.md explains them.

When one of these fails after an upgrade of Jittor, the workaround it names can go.
"""
from __future__ import annotations

import numpy as np
import pytest

from jittor_ipl.ops import norms
from jittor_ipl.runtime.backend import jt, nn


def draw(*shape, seed=0):
    return jt.array(np.random.RandomState(seed).randn(*shape).astype(np.float32))


def test_a_full_mean_loses_accuracy():
    values = np.random.RandomState(0).rand(8192, 4096).astype(np.float32)
    exact = values.mean(dtype=np.float64)
    theirs = abs(jt.array(values).mean().item() / exact - 1)
    ours = abs(norms.mean(jt.array(values)).item() / exact - 1)
    print(f"Jittor {theirs:.1e}, ops.norms.mean {ours:.1e}")
    assert theirs > 10 * ours


def test_neighbouring_seeds_are_the_same_seed():
    draws = []
    for seed in (0, 1):
        jt.set_global_seed(seed)
        draws.append(jt.randn((4,)).numpy())
    assert np.array_equal(*draws)


def test_wide_types_are_narrowed_without_a_word():
    assert jt.array(np.zeros(2)).dtype == "float32" and jt.array(np.zeros(2, np.int64)).dtype == "int32"


def test_scalars_have_one_axis():
    assert jt.ones((2, 3)).sum().shape == [1]


def test_argmax_returns_a_pair():
    index, value = jt.argmax(jt.array([1.0, 3.0, 2.0]), 0)
    assert index.item() == 1 and value.item() == 3.0


def test_a_gradient_that_does_not_exist_is_zero():
    x, unused = draw(3), draw(3, seed=1)
    assert not jt.grad((x * x).sum(), unused).numpy().any()


def test_casts_wrap_and_rounding_is_away_from_zero():
    assert jt.array([300.0]).uint8().numpy()[0] == 300 - 256  # and `.item()` of a uint8 reads memory beyond it
    assert jt.round(jt.array([2.5, -2.5])).numpy().tolist() == [3, -3]


def test_loading_a_state_ignores_what_is_missing():
    layer = nn.Linear(2, 2)
    bias = layer.bias.numpy()
    layer.load_state_dict({"weight": np.zeros((2, 2), np.float32), "surplus": np.zeros(1, np.float32)})  # no error
    assert not layer.weight.numpy().any() and np.array_equal(layer.bias.numpy(), bias) and not hasattr(layer, "surplus")


class TapedSquare(jt.Function):
    def execute(self, x):
        self.x = x
        return x * x

    def grad(self, g):
        return 2 * g * self.x


class OutsideSquare(TapedSquare):
    def __init__(self, x):
        self.outer = x

    def grad(self, g):
        return 2 * g * self.outer


@pytest.mark.parametrize("make,complete", [(lambda x: TapedSquare(), False), (OutsideSquare, True)])
def test_second_derivatives_need_the_untaped_input(make, complete):
    """With f = x^2 at 3, half the square of f' has the derivative f' f'' = 12."""
    x = jt.array([3.0])
    first = jt.grad(make(x)(x), x)
    second = jt.grad(first * first / 2, x).item()
    assert first.item() == 6 and (second == 12) is complete

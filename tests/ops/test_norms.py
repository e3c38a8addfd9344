"""Means and norms keep float32 accuracy where Jittor's own lose it."""
from __future__ import annotations

import math

import numpy as np
import pytest

from jittor_ipl.ops import activation, norms
from jittor_ipl.runtime.backend import jt, nn


def draw(*shape, seed=0, shift=0.0):
    return (np.random.RandomState(seed).randn(*shape) + shift).astype(np.float32)


def test_mean_is_exact_where_jittors_is_not():
    values = np.random.RandomState(0).rand(4096, 4096).astype(np.float32)
    exact = values.mean(dtype=np.float64)
    ours = abs(norms.mean(jt.array(values)).item() - exact) / exact
    theirs = abs(jt.array(values).mean().item() - exact) / exact
    print(f"ours {ours:.1e}, Jittor's {theirs:.1e}")
    # Two sums of n = 4096, one after the other: each step of a running sum rounds the part so far by u / sqrt(3),
    # u = 2^-24, so a sum errs by u sqrt(n) / 3 = 1.3e-6; with 16 partial sums by a quarter, with 8 (AVX2) by a third.
    # Three standard deviations of one running sum: no processor exceeds them.
    assert ours < 3 * 2**-24 * 4096**0.5 / 3 < theirs


@pytest.mark.parametrize("dims,keepdims", [(None, False), (None, True), (1, False), (-1, True), ((0, 2), False)])
def test_mean_matches_numpy(dims, keepdims):
    x = draw(3, 4, 5)
    want = np.atleast_1d(x.mean(dims, keepdims=keepdims))
    got = norms.mean(jt.array(x), dims, keepdims)
    assert tuple(got.shape) == want.shape and np.abs(got.numpy() - want).max() < 1e-6


def test_layer_norm_far_from_zero():
    x, ones, zeros = draw(8, 64, shift=1000.0), jt.ones(64), jt.zeros(64)
    exact = (x - x.mean(1, keepdims=True, dtype=np.float64)) / np.sqrt(x.var(1, keepdims=True, dtype=np.float64) + 1e-5)
    ours = np.abs(norms.layer_norm(jt.array(x), ones, zeros).numpy() - exact).max()
    theirs = np.abs(nn.LayerNorm(64)(jt.array(x)).numpy() - exact).max()
    print(f"ours {ours:.1e}, Jittor's {theirs:.1e}")
    assert ours < 1e-3 < theirs


def test_group_norm_and_batch_norm():
    x, weight, bias = draw(2, 6, 5, 3, shift=3.0), draw(6, seed=1), draw(6, seed=2)
    grouped = x.reshape(2, 3, -1)
    want = (grouped - grouped.mean(-1, keepdims=True)) / np.sqrt(grouped.var(-1, keepdims=True) + 1e-5)
    want = want.reshape(x.shape) * weight[:, None, None] + bias[:, None, None]
    got = norms.group_norm_reference(jt.array(x), 3, jt.array(weight), jt.array(bias)).numpy()
    assert np.abs(got - want).max() < 1e-5
    mean, var = draw(6, seed=3), draw(6, seed=4) ** 2
    want = (x - mean[:, None, None]) / np.sqrt(var + 1e-5)[:, None, None] * weight[:, None, None] + bias[:, None, None]
    got = norms.batch_norm_inference(*(jt.array(v) for v in (x, mean, var, weight, bias))).numpy()
    assert np.abs(got - want).max() < 1e-4 * np.abs(want).max()


def test_unit_and_its_guard():
    x = draw(4, 7)
    assert np.abs(norms.unit(jt.array(x)).numpy() - x / np.linalg.norm(x, axis=1, keepdims=True)).max() < 1e-6
    assert not norms.unit(jt.zeros((2, 3)), eps=1e-8).numpy().any()
    assert np.isnan(norms.unit(jt.zeros((2, 3))).numpy()).all()


def test_cross_entropy_matches_the_formula():
    logits, targets = draw(5, 9) * 40, np.array([0, 3, 8, 1, 1], np.int32)
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    want = -(shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))[np.arange(5), targets].mean()
    assert abs(norms.cross_entropy(jt.array(logits), jt.array(targets)).item() - want) < 1e-4 * want


def test_activations():
    erf = np.vectorize(math.erf)
    x = np.linspace(-8, 8, 1001).astype(np.float32)
    assert np.abs(activation.gelu(jt.array(x)).numpy() - x * (1 + erf(x / np.sqrt(2))) / 2).max() < 2e-6
    assert np.abs(activation.quick_gelu(jt.array(x)).numpy() - x / (1 + np.exp(-1.702 * x))).max() < 2e-6

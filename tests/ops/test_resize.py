"""Resize against numbers of PyTorch 2's `interpolate` (recorded in data/resize.npz) and against its own promises."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.ops.resize import axis_matrix, resize
from jittor_ipl.runtime.backend import jt

RECORDED = np.load(Path(__file__).parent / "data" / "resize.npz")
CASES = sorted(name for name in RECORDED.files if name != "x" and not name.endswith("grad"))


@pytest.mark.parametrize("case", CASES)
def test_equals_interpolate(case):
    mode, antialias, height, width = case.split("-")
    x = jt.array(RECORDED["x"])
    y = resize(x, (int(height), int(width)), mode, bool(int(antialias)))
    rows, columns = (axis_matrix(before, after, mode, bool(int(antialias))).astype(np.float64)
                     for before, after in zip(x.shape[2:], y.shape[2:]))
    exact = np.einsum("hi,bciw,jw->bchj", rows, RECORDED["x"], columns) if mode != "nearest" else RECORDED[case]
    assert np.abs(y.numpy() - exact).max() < 1e-6           # measured 2.2e-7
    # The rest, at most 1.3e-6 here and 1.9e-6 in the gradient, is the rounding of PyTorch's record, on any processor.
    assert np.abs(y.numpy() - RECORDED[case]).max() < 3e-6
    cotangent = np.cos(np.arange(RECORDED[case].size)).reshape(y.shape).astype(np.float32)
    gradient = jt.grad((y * jt.array(cotangent)).sum(), x).numpy()
    assert np.abs(gradient - RECORDED[case + "-grad"]).max() < 5e-6


@pytest.mark.parametrize("mode,antialias", [("bicubic", False), ("bicubic", True), ("bilinear", True), ("area", False)])
def test_a_flat_image_stays_flat(mode, antialias):
    for source, target in ((64, 32), (224, 1024), (1024, 224), (5, 7)):
        assert np.abs(axis_matrix(source, target, mode, antialias).sum(1) - 1).max() < 1e-5


def test_number_means_square():
    assert resize(jt.zeros((1, 3, 5, 9)), 4).shape == [1, 3, 4, 4]


def test_corners_lie_on_corners():
    """`align_corners=True`: a ramp stays one, from the first sample to the last; a single sample spreads."""
    for source, target in ((16, 32), (5, 9), (9, 5), (4, 4)):
        ramp = axis_matrix(source, target, "bilinear-corners").astype(np.float64) @ np.linspace(-1, 2, source)
        np.testing.assert_allclose(ramp, np.linspace(-1, 2, target), atol=1e-6)
    assert (axis_matrix(1, 3, "bilinear-corners") == 1).all() and axis_matrix(3, 1, "bilinear-corners")[0, 0] == 1

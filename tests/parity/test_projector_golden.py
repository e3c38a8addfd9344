"""The projector's arithmetic against numbers recorded from PyTorch (tests/parity/record_projector.py)."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.inversion import projection
from jittor_ipl.inversion.noise import autocorrelation, standardised
from jittor_ipl.ops.norms import mean
from jittor_ipl.runtime.backend import jt
from jittor_ipl.train.optim import Adam
from jittor_ipl.train.projector import projector_rate

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "projector.npz")
SIDES, STEPS, LR, WEIGHT = (4, 8, 16, 32), 12, 0.1, 10.0


def test_noise_regulariser_and_its_gradient() -> None:
    maps = [jt.array(GOLDEN[f"map/{r}"]).start_grad() for r in SIDES]
    loss = autocorrelation(maps)
    assert loss.item() == pytest.approx(float(GOLDEN["regulariser"][0]), rel=1e-5)
    for r, gradient in zip(SIDES, jt.grad(loss, maps)):
        want = GOLDEN[f"gradient/{r}"]
        assert np.abs(gradient.numpy() - want).max() <= 1e-5 * np.abs(want).max()


def test_steps_of_a_projection() -> None:
    code, noise = jt.zeros([1, 12]).start_grad(), jt.array(GOLDEN["map/16"]).start_grad()
    adam = Adam({"code": code, "noise": noise}, LR)
    matrix, target = jt.array(GOLDEN["matrix"]), jt.array(GOLDEN["target"])
    worst = 0.0
    for step in range(STEPS):
        rate, strength = projector_rate(LR, step / STEPS), projection.strength(2.0, .05, step, STEPS)
        assert rate == pytest.approx(float(GOLDEN[f"rate/{step}"][0]))
        assert strength == pytest.approx(float(GOLDEN[f"strength/{step}"][0]))
        moved = code + jt.array(np.float32(strength) * GOLDEN["moved"][step])
        apart = jt.matmul(moved, matrix).reshape(1, 1, 16, 16) + noise - target
        loss = mean(apart * apart) + WEIGHT * autocorrelation([noise])
        assert loss.item() == pytest.approx(float(GOLDEN[f"loss/{step}"][0]), rel=1e-4)
        adam.minimise(loss, rate)
        noise.update(jt.array(standardised(noise.numpy()))).start_grad()
        worst = max(worst, float(np.abs(code.numpy() - GOLDEN[f"code/{step}"]).max()))
    print(f"largest difference of a code {worst:.1e}")
    assert worst < 1e-4 and np.abs(noise.numpy() - GOLDEN["noise"]).max() < 1e-4

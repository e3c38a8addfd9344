"""Adam, AdamW, EMA and schedules against numbers recorded from torch.optim, and what they must not do."""
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.runtime.backend import jt
from jittor_ipl.train import optim

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "optim.npz")
NAMES = ("conv", "bias", "late")
CASES = {
    "adam": dict(lr=0.05),
    "adam_ipl": dict(lr=0.0016, betas=(0.0, 0.99 ** 0.8)),
    "adam_l2": dict(lr=0.01, weight_decay=0.1),
    "adamw": dict(lr=0.01, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2, decoupled=True),
}


def fresh():
    return {name: jt.array(GOLDEN[f"start/{name}"]) for name in NAMES}


def grads(step):
    return {n: jt.array(GOLDEN[f"grad/{n}"][step]) for n in NAMES if n != "late" or step % 2}


@pytest.mark.parametrize("case", CASES)
def test_equals_torch(case):
    params = fresh()
    adam = optim.Adam(params, **CASES[case])
    worst = 0.0
    for step in range(6):
        adam.step(grads(step))
        for name in NAMES:
            want = GOLDEN[f"{case}/{step}/{name}"]
            worst = max(worst, float(np.abs(params[name].numpy() - want).max() / np.abs(want).max()))
    print(f"{case}: largest relative difference {worst:.2e}")
    assert worst < 1e-6


def test_a_tensor_without_gradient_stays_bit_equal_and_does_not_age():
    params = fresh()
    adam = optim.Adam(params, lr=0.1)
    adam.step({k: v for k, v in grads(1).items() if k == "conv"})
    assert np.array_equal(params["bias"].numpy(), GOLDEN["start/bias"]) and adam.steps["bias"] == 0
    assert not np.array_equal(params["conv"].numpy(), GOLDEN["start/conv"])


def test_resume_is_bit_exact():
    straight, stopped = fresh(), fresh()
    one, two = optim.Adam(straight, lr=0.05), optim.Adam(stopped, lr=0.05)
    for step in range(6):
        one.step(grads(step))
    for step in range(3):
        two.step(grads(step))
    resumed = {name: jt.array(v.numpy()) for name, v in stopped.items()}
    three = optim.Adam(resumed, lr=0.05)
    three.load_state(two.state())
    for step in range(3, 6):
        three.step(grads(step))
    for name in NAMES:
        assert np.array_equal(straight[name].numpy(), resumed[name].numpy()), name


def test_foreign_state_is_refused():
    with pytest.raises(AssertionError, match="nobody"):
        optim.Adam(fresh(), lr=0.1).load_state({"first/nobody": np.zeros(3, np.float32)})


def test_ema_equals_its_closed_form():
    value = {"a": jt.array(np.full((2, 3), 1.0, np.float32))}
    ema = optim.Ema(value, 0.9)
    value["a"].update(jt.array(np.full((2, 3), 3.0, np.float32)))
    for _ in range(5):
        ema.update()
    want = 3.0 + (1.0 - 3.0) * 0.9 ** 5
    error = float(np.abs(ema.state()["a"] - want).max())
    print(f"EMA error {error:.2e}")
    assert error < 1e-6
    frozen = {"a": jt.array(np.full(3, 0.1, np.float32))}
    still = optim.Ema(frozen, 0.97)
    still.update()
    assert np.array_equal(still.state()["a"], frozen["a"].numpy()), "a value that does not move keeps its bits"
    again = optim.Ema(value, 0.9)
    again.load_state(ema.state())
    assert np.array_equal(again.state()["a"], ema.state()["a"])


def test_schedules():
    ours = [optim.cosine(0.004, step, 10) for step in range(11)]
    assert np.allclose(ours, GOLDEN["cosine"], atol=1e-9)
    assert optim.constant(0.3, 7, 10) == 0.3
    assert [optim.warmup(1.0, s, 4) for s in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_no_graph_is_left_behind_and_parameters_still_learn():
    params = fresh()
    adam, ema = optim.Adam(params, lr=0.1), optim.Ema(params, 0.9)
    counts = []
    for _ in range(4):
        loss = sum((p * p).sum() for p in params.values())
        adam.step(dict(zip(params, jt.grad(loss, list(params.values())))))
        ema.update()
        counts.append(jt.liveness_info()["lived_vars"])
        del loss
    assert counts[1] == counts[3], counts
    assert all(not np.array_equal(p.numpy(), GOLDEN[f"start/{k}"]) for k, p in params.items())

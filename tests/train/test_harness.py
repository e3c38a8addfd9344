"""The harness of training loops: a toy loop of fifteen lines is killed half way and ends with the same bits."""
from __future__ import annotations

import io
import json
import signal
from types import SimpleNamespace

import numpy as np
import pytest

from jittor_ipl.config.sections import Run
from jittor_ipl.errors import UserError
from jittor_ipl.runtime.backend import jt
from jittor_ipl.train.optim import Adam, Ema
from jittor_ipl.train.stage import Stage
from jittor_ipl.train.state import Loop, Weights

SETTINGS = Run(checkpoint_every=2, sample_every=3, log_every=1, keep=2, tensorboard=False)
TRUTH = np.array([[1.0], [-2.0], [0.5]], np.float32)


class Killed(Exception):
    """Stands for the end of the process."""


def fit(loop: Loop, steps: int, kill_at: int | None = None) -> dict[str, np.ndarray]:
    """A linear model, fitted."""
    params = {"weight": jt.array(np.zeros((3, 1), np.float32)), "bias": jt.array(np.ones(1, np.float32))}
    adam, average = Adam(params, lr=0.4), Ema(params, 0.9)
    for step in loop.steps(steps, weights=Weights(params), adam=adam, average=average):
        x = np.random.default_rng(step).standard_normal((8, 3)).astype(np.float32)
        error = jt.matmul(jt.array(x), params["weight"]) + params["bias"] - jt.array(x @ TRUTH)
        loss = (error * error).sum() / 8.0
        if step == kill_at:
            raise Killed
        adam.minimise(loss)
        average.update()
        loop.done({"loss": loss.item()})
    return {**Weights(params).state(), **{f"ema {name}": value for name, value in average.state().items()}}


def stage(folder, steps: int = 9, **keywords) -> Stage:
    return Stage(folder, "toy", steps, SETTINGS, stream=io.StringIO(), **keywords)


def records(folder) -> list[tuple[int, float]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [(record["step"], record["loss"]) for record in map(json.loads, lines)]


def same_bits(one, other) -> bool:
    return one.keys() == other.keys() and all(one[name].tobytes() == other[name].tobytes() for name in one)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    with stage(folder) as whole:
        return folder, fit(whole, 9)


@pytest.mark.parametrize("kill_at", [0, 1, 5, 8])
def test_a_killed_loop_ends_with_the_same_bits(straight, tmp_path, kill_at):
    with pytest.raises(Killed), stage(tmp_path) as first:
        fit(first, 9, kill_at)
    with stage(tmp_path) as second:
        assert second.start == kill_at // 2 * 2       # of its last checkpoint
        assert same_bits(fit(second, 9), straight[1])
    assert records(tmp_path) == records(straight[0]) and len(records(tmp_path)) == 9
    assert records(tmp_path)[-1][1] < records(tmp_path)[0][1] / 2


def test_a_finished_loop_has_nothing_left_to_do(straight):
    with stage(straight[0]) as again:
        assert same_bits(fit(again, 9, kill_at=8), straight[1])


def test_every_step_is_watched_and_a_watcher_that_raises_ends_the_stage_unsaved(straight, tmp_path):
    seen = []

    def watch(name, step, total, metrics):
        seen.append((name, step, total, metrics["loss"]))
        if step == 4:
            raise Killed
    with pytest.raises(Killed), stage(tmp_path, watch=watch) as first:
        fit(first, 9)
    assert seen == [("toy", step, 9, loss) for step, loss in records(straight[0])[:4]]
    with stage(tmp_path) as second:
        assert second.start == 2 and same_bits(fit(second, 9), straight[1])


def test_a_signal_saves_the_very_step(straight, tmp_path):
    stop = SimpleNamespace(received=None)
    with stage(tmp_path, stop=stop) as stopped:
        stopped.log.step, noted = lambda *_: setattr(stop, "received", signal.SIGTERM), stopped.log.step
        fit(stopped, 9)
        stopped.log.step = noted
    with stage(tmp_path) as second:
        assert second.start == 1 and same_bits(fit(second, 9), straight[1])


def test_another_identity_starts_anew_and_names_of_today_replace_older_ones(straight, tmp_path):
    with stage(tmp_path, identity="mine") as mine:
        fit(mine, 9)
    assert stage(tmp_path, identity="yours").start == 0
    renamed = stage(tmp_path, identity="mine", renamed={"weights/bias": "weights/offset"}).state
    assert "weights/offset" in renamed and "weights/bias" not in renamed


def test_what_is_shown_and_when(tmp_path):
    shown = []
    with stage(tmp_path, 4, show=lambda step, state: shown.append((step, sorted(state)))) as whole:
        fit(whole, 4)
    assert [step for step, _ in shown] == [3, 4] and "average/bias" in shown[0][1] and "adam/first/bias" in shown[0][1]


def test_a_loss_that_is_not_finite_names_the_remedy(tmp_path):
    with pytest.raises(UserError, match="the loss of the toy is not finite at step 1: lower lr .now 3"):
        with stage(tmp_path, advice="lower lr (now 3)") as whole:
            for _ in whole.steps(2):
                whole.done({"loss": float("nan")})


def test_a_state_of_other_tensors_is_refused():
    with pytest.raises(AssertionError):
        next(Loop(1, {"weights/other": np.zeros(1, np.float32)}).steps(2, weights=Weights({"bias": jt.zeros([1])})))

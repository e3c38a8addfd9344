"""The projector's formulas against NumPy, and what they mean."""
from __future__ import annotations

import math

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.inversion import distances, noise, projection, tuning
from jittor_ipl.inversion.matching import Edges, Matching, seen
from jittor_ipl.runtime.backend import jt
from jittor_ipl.train.projector import projector_rate

RNG = np.random.default_rng(5)


def expected_autocorrelation(maps: list[np.ndarray]) -> float:
    """The projector's regulariser as Karras et al. write it, in float64."""
    total = 0.0
    for one in maps:
        x = one[0, 0].astype(np.float64)
        while True:
            total += np.mean(x * np.roll(x, 1, 0)) ** 2 + np.mean(x * np.roll(x, 1, 1)) ** 2
            if len(x) <= 8:
                break
            x = x.reshape(len(x) // 2, 2, -1, 2).mean((1, 3))
    return total


def test_noise_regulariser_equals_numpy() -> None:
    maps = [RNG.standard_normal((1, 1, r, r)).astype(np.float32) for r in (4, 8, 32)]
    found = noise.autocorrelation([jt.array(one) for one in maps]).item()
    assert found == pytest.approx(expected_autocorrelation(maps), rel=1e-4)
    smooth = np.cos(np.arange(32) / 5)[:, None] * np.ones(32)
    signal = noise.autocorrelation([jt.array(smooth[None, None].astype(np.float32))]).item()
    assert signal > 20 * noise.autocorrelation([jt.array(maps[2])]).item(), "a drawing in the noise costs"


def test_gradient_of_the_noise_regulariser() -> None:
    values = RNG.standard_normal((1, 1, 16, 16)).astype(np.float32)
    x = jt.array(values).start_grad()
    gradient = jt.grad(noise.autocorrelation([x]), x).numpy()
    along, step = RNG.standard_normal(values.shape), 1e-4
    slope = (expected_autocorrelation([values + step * along]) - expected_autocorrelation([values - step * along])) \
        / (2 * step)
    assert float((gradient * along).sum()) == pytest.approx(slope, rel=1e-3)


def test_maps_are_standardised() -> None:
    made = noise.standardised(3 + 2 * RNG.standard_normal((1, 1, 16, 16)).astype(np.float32))
    assert abs(made.mean()) < 1e-6 and np.square(made).mean() == pytest.approx(1, rel=1e-5)


def test_schedule_is_the_projectors() -> None:
    def published(step: int, steps: int) -> float:
        t = step / steps
        ramp = min(1.0, (1.0 - t) / 0.25)
        return 0.1 * (0.5 - 0.5 * math.cos(ramp * math.pi)) * min(1.0, t / 0.05)
    rates = [projector_rate(0.1, step / 200) for step in range(200)]
    assert rates == pytest.approx([published(step, 200) for step in range(200)])
    assert rates[0] == 0 and rates[10] == pytest.approx(0.1) and rates[150] == pytest.approx(0.1) and rates[-1] < 2e-4
    noises = [projection.strength(4.0, 0.05, step, 200) for step in range(200)]
    assert noises[0] == pytest.approx(0.2) and noises[75] == pytest.approx(0.05) and max(noises[150:]) < 1e-12


def test_codes_nearby_lie_at_the_distance() -> None:
    here, there = RNG.standard_normal((2, 1, 10, 16)).astype(np.float32)
    found = tuning.nearby(here, there, 30.0)
    assert np.linalg.norm(found - here) == pytest.approx(30, rel=1e-5)
    assert np.dot((found - here).ravel(), (there - here).ravel()) > 0


def test_matching_is_nothing_at_the_target_and_sees_at_most_256_px() -> None:
    target = jt.array(RNG.uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32))
    matching = Matching(target, Edges(), pixels=2.0)
    terms = matching.terms(target)
    assert terms["pixels"].item() == terms["perceptual"].item() == 0
    terms = matching.terms(target + 0.5)
    assert terms["pixels"].item() == pytest.approx(0.25, rel=1e-5)
    assert terms["perceptual"].item() == pytest.approx(1.0, rel=1e-4), "half a step, once more at a quarter"
    assert matching.loss(terms).item() == pytest.approx(1.5, rel=1e-4)
    assert tuple(seen(jt.zeros([1, 3, 512, 512])).shape) == (1, 3, 256, 256)


def test_what_is_explained() -> None:
    picture, mean = RNG.integers(0, 256, (2, 8, 8, 3)).astype(np.uint8)
    assert distances.explained(picture, picture, mean) == 1 and distances.explained(picture, mean, mean) == 0
    assert distances.verdict(.95, None).startswith("the generator knows")
    assert "only 40%" in distances.verdict(.4, None) and "by heart" in distances.verdict(.4, .9)
    assert "after tuning 50%" in distances.verdict(.4, .5) and "only 0%" in distances.verdict(-.3, None)


def test_an_unknown_space_is_refused() -> None:
    with pytest.raises(UserError, match="choose one of w, w+"):
        projection.Projection("z")

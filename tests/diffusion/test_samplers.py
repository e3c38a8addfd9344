"""Samplers on a distribution whose every noisy version is known: they must arrive where mathematics says."""
from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from jittor_ipl.diffusion.samplers import (
    SAMPLERS,
    euler,
    euler_ancestral,
    invert,
    pndm,
    sampling_sigmas,
    start,
    steps_of,
)
from jittor_ipl.diffusion.schedule import Denoiser, NoiseSchedule, noise_schedule
from jittor_ipl.errors import UserError
from jittor_ipl.weights.pipeline import read_scheduler

MEAN, SPREAD = 0.7, 0.5     # the "pictures": normal, alike in every place
SHAPE = (1, 4, 8, 8)
NEAR = {"ddim": 0.03, "euler": 0.03, "dpm++2m": 0.02, "pndm": 0.003}    # what 160 steps may leave


def schedule(prediction: str = "epsilon", **settings) -> NoiseSchedule:
    return noise_schedule(read_scheduler({"_class_name": "DDIMScheduler", "beta_start": 0.00085, "beta_end": 0.012,
                                          "beta_schedule": "scaled_linear", "prediction_type": prediction, **settings}))


def perfect(made: NoiseSchedule) -> Denoiser:
    """Return the denoiser that knows the distribution, speaking as a network of the schedule's prediction type."""
    def predict(z: np.ndarray, timestep: float) -> np.ndarray:
        sigma = float(made.sigma(timestep))
        a = (1 + sigma**2) ** -0.5
        x = z / a
        clean = MEAN + (x - MEAN) * SPREAD**2 / (SPREAD**2 + sigma**2)
        noise = (x - clean) / sigma
        return {"epsilon": noise, "v_prediction": a * noise - sigma * a * clean, "sample": clean}[made.prediction_type]
    return Denoiser(made, predict)


def normal(seed: int) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(SHAPE)


def exact(x: np.ndarray, sigma: float, lower: float) -> np.ndarray:
    """Return where the probability flow carries x from `sigma` to `lower`."""
    return MEAN + (x - MEAN) * np.sqrt((SPREAD**2 + lower**2) / (SPREAD**2 + sigma**2))


def arrival(name: str, made: NoiseSchedule, steps: int, **options) -> tuple[np.ndarray, np.ndarray]:
    """Return where a sampler arrives from one start, and where it should."""
    sigmas = sampling_sigmas(made, name, steps)
    x = start(name, made, normal(0), sigmas[0])
    run = partial(SAMPLERS[name].run, **options)
    *_, last = run(perfect(made), x, sigmas, lambda step: normal(step + 1))
    return last, exact(x, sigmas[0], sigmas[-1])


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("name", NEAR)
def test_more_steps_come_nearer(name, prediction):
    made = schedule(prediction)
    errors = [float(np.abs(np.subtract(*arrival(name, made, steps))).max()) for steps in (10, 40, 160)]
    print(name, prediction, errors)
    assert errors[0] > errors[1] > errors[2] and errors[2] < NEAR[name]


@pytest.mark.parametrize("name", ["ddpm", "euler-a"])
def test_stochastic_samplers_meet_the_distribution(name):
    last, _ = arrival(name, schedule("v_prediction"), 200)
    assert last.mean() == pytest.approx(MEAN, abs=0.1) and last.std() == pytest.approx(SPREAD, abs=0.06)


def test_noise_of_a_step_is_asked_for_by_its_number_and_only_where_it_counts():
    made, asked = schedule(), []
    sigmas = sampling_sigmas(made, "ddpm", 4)
    list(euler_ancestral(perfect(made), normal(0), sigmas, lambda step: asked.append(step) or normal(step)))
    assert asked == [0, 1, 2]       # the last step ends without noise
    none = list(euler_ancestral(perfect(made), normal(0), sigmas, None, eta=0.0))
    for ours, wanted in zip(none, euler(perfect(made), normal(0), sigmas)):
        np.testing.assert_allclose(ours, wanted, rtol=1e-12)


def test_averaging_v_is_less_exact_than_averaging_noise():
    """Why `pndm` is told to do it only where diffusers' pictures are wanted."""
    made = schedule("v_prediction")
    by_noise, by_v = (np.abs(np.subtract(*arrival("pndm", made, 25, velocity=velocity))).max()
                      for velocity in (False, True))
    print(f"largest error in 25 steps: {by_noise:.2e} by noise, {by_v:.2e} by v")
    assert by_noise < by_v / 3


def test_pndm_calls_the_network_once_more_than_there_are_steps():
    made = schedule()
    for steps, calls in ((1, 1), (2, 3), (6, 7)):
        told = []
        denoise = perfect(made)
        list(pndm(lambda x, sigma: told.append(sigma) or denoise(x, sigma), normal(0),
                  sampling_sigmas(made, "pndm", steps)))
        assert len(told) == calls


def test_inversion_comes_back():
    made = schedule("v_prediction", set_alpha_to_one=False)
    picture = MEAN + SPREAD * normal(3)
    errors = []
    for steps in (10, 50, 250):
        sigmas = sampling_sigmas(made, "ddim", steps)
        *_, noisy = invert(perfect(made), picture, sigmas)
        assert noisy.std() / sigmas[0] == pytest.approx(1, abs=0.15)
        *_, back = euler(perfect(made), noisy, sigmas)
        errors.append(float(np.abs(back - picture).max()))
    print("what is lost on the way there and back in 10, 50 and 250 steps:", errors)
    assert errors[0] > errors[1] > errors[2] and errors[2] < 0.05


def test_jittors_arrays_pass_through():
    from jittor_ipl.runtime.backend import jt
    sigmas = [4.0, 2.0, 1.0, 0.0]

    def denoise(x, sigma):
        clean = x * (1 / (1 + sigma**2))
        return clean, (x - clean) * (1 / sigma)

    for name, sampler in SAMPLERS.items():
        first, fresh = (normal(seed).astype(np.float32) for seed in (0, 9))
        *_, wanted = sampler.run(denoise, first, sigmas, lambda step: fresh)
        *_, ours = sampler.run(denoise, jt.array(first), sigmas, lambda step: jt.array(fresh))
        np.testing.assert_allclose(ours.numpy(), wanted, atol=1e-5, err_msg=name)


def test_user_mistakes_are_one_line():
    made = schedule()
    with pytest.raises(UserError, match="dpm\\+\\+2m"):
        sampling_sigmas(made, "dpm++", 10)
    for steps in (0, 1001):
        with pytest.raises(UserError, match="steps"):
            sampling_sigmas(made, "ddim", steps)
    with pytest.raises(UserError, match="steps_offset"):
        sampling_sigmas(schedule(steps_offset=1), "ddim", 1000)
    for strength in (0.0, 1.1, 0.04, float("nan")):
        with pytest.raises(UserError, match="strength"):
            steps_of(strength, 20)
    assert steps_of(1.0, 20) == 20 and steps_of(0.9, 10) == 9

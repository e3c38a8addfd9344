"""The noise schedule against closed forms: what is visited, what is trained on, and what the wrapper hides."""
from __future__ import annotations

import numpy as np
import pytest

from jittor_ipl.diffusion.schedule import (
    Denoiser,
    NoiseSchedule,
    noise_schedule,
    timesteps,
    to_exploding,
    to_preserving,
)
from jittor_ipl.errors import UserError
from jittor_ipl.weights.pipeline import read_scheduler

SD = {"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear",
      "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1, "clip_sample": False}


def schedule(prediction: str = "epsilon", **settings) -> NoiseSchedule:
    return noise_schedule(read_scheduler({**SD, "prediction_type": prediction, **settings}))


def draw(seed: int, shape=(3, 2, 4, 4)) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def test_the_schedule_of_stable_diffusion():
    made = schedule()
    assert made.alphas_cumprod.dtype == np.float64 and (np.diff(made.alphas_cumprod) < 0).all()
    # the ends of its sigmas, as k-diffusion's users know them
    assert made.sigmas[0] == pytest.approx(0.0292, abs=5e-5) and made.sigmas[-1] == pytest.approx(14.6146, abs=5e-5)
    assert (made.spacing, made.steps_offset, made.ends_clean) == (None, 1, False)


def test_linear_and_cosine_schedules():
    linear = schedule(beta_schedule="linear", beta_start=0.1, beta_end=0.3, num_train_timesteps=3).alphas_cumprod
    assert linear == pytest.approx([0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.7])
    cosine = schedule(beta_schedule="squaredcos_cap_v2", num_train_timesteps=10).alphas_cumprod
    wanted = [np.cos((t / 10 + 0.008) / 1.008 * np.pi / 2) ** 2 for t in range(11)]
    assert cosine[:-1] == pytest.approx(np.divide(wanted[1:-1], wanted[0])) and cosine[-1] == cosine[-2] * (1 - 0.999)


def test_which_timesteps_are_visited():
    assert timesteps(1000, 4, "leading", 1).tolist() == [751, 501, 251, 1]
    assert timesteps(1000, 4, "trailing").tolist() == [999, 749, 499, 249]
    assert timesteps(1000, 4, "linspace").tolist() == [999, 666, 333, 0]
    assert timesteps(1000, 7, "leading").tolist() == [852, 710, 568, 426, 284, 142, 0]


def test_a_timestep_and_its_sigma_are_each_others_inverse():
    made = schedule()
    for t in (0.0, 1.0, 499.5, 998.25, 999.0):
        assert made.timestep(float(made.sigma(t))) == pytest.approx(t, abs=1e-9)
    assert made.timestep(0.0) == 0 and made.timestep(1e6) == 999


@pytest.mark.parametrize("name, value", [("clip_sample", True), ("rescale_betas_zero_snr", True), ("steps_offset", -1),
                                         ("thresholding", True), ("timestep_spacing", "even"), ("steps_offset", 0.5),
                                         ("set_alpha_to_one", "yes"), ("use_karras_sigmas", True)])
def test_settings_that_would_change_every_picture_are_refused(name, value):
    with pytest.raises(UserError, match=name):
        schedule(**{name: value})


def test_min_snr_weights():
    t = np.array([0, 200, 500, 999])
    snr = schedule().alphas_cumprod[t] / (1 - schedule().alphas_cumprod[t])
    assert snr[0] > 5 > snr[-1]
    assert schedule("epsilon").min_snr_weights(t) == pytest.approx(np.minimum(snr, 5) / snr)
    assert schedule("v_prediction").min_snr_weights(t, 3.0) == pytest.approx(np.minimum(snr, 3) / (snr + 1))
    assert schedule("sample").min_snr_weights(t) == pytest.approx(np.minimum(snr, 5))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_network_that_knows_the_target_is_understood(prediction):
    """What training asks for and what sampling makes of it are inverse to each other."""
    made, latents, noise, t = schedule(prediction), draw(1), draw(2), 421
    at = np.full(3, t)
    z, target = made.noised(latents, noise, at), made.target(latents, noise, at)
    assert z.dtype == target.dtype == np.float32
    sigma = float(made.sigmas[t])

    def predict(seen: np.ndarray, timestep: float) -> np.ndarray:
        assert timestep == t
        np.testing.assert_allclose(seen, z, atol=1e-6)
        return target

    clean, found = Denoiser(made, predict)(to_exploding(z, sigma), sigma)
    assert clean.dtype == found.dtype == np.float32
    np.testing.assert_allclose(clean, latents, atol=5e-6)
    np.testing.assert_allclose(found, noise, atol=5e-6)
    np.testing.assert_allclose(to_preserving(to_exploding(z, sigma), sigma), z, rtol=1e-6)


def test_timesteps_of_a_batch_stand_alone():
    made, latents, noise, t = schedule("v_prediction"), draw(1), draw(2), np.array([7, 500, 993])
    together = made.noised(latents, noise, t), made.target(latents, noise, t)
    for row in range(3):
        part = slice(row, row + 1)
        alone = made.noised(latents[part], noise[part], t[part]), made.target(latents[part], noise[part], t[part])
        assert all((a[part] == b).all() for a, b in zip(together, alone))


def test_training_takes_jittors_arrays_as_well():
    from jittor_ipl.runtime.backend import jt
    made, t = schedule("v_prediction"), np.array([7, 500, 993])
    for name in ("noised", "target"):
        ours = getattr(made, name)(jt.array(draw(1)), jt.array(draw(2)), t).numpy()
        np.testing.assert_allclose(ours, getattr(made, name)(draw(1), draw(2), t), rtol=1e-6, atol=1e-7)


def test_guidance_asks_once_with_negative_prompts_first():
    asked = []

    def predict(z: np.ndarray, timestep: float) -> np.ndarray:
        asked.append(z.shape)
        return np.concatenate([0 * z[:3] + 1, 0 * z[3:] + 2])

    x = draw(1)
    for guidance, wanted in ((1.0, 2.0), (0.0, 1.0), (7.5, 8.5)):
        _, noise = Denoiser(schedule(), predict, guidance)(x, 2.0)
        assert noise == pytest.approx(wanted)
    assert asked == [(6, 2, 4, 4)] * 3

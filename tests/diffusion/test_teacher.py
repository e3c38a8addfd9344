"""The teacher: what it redraws, what its scores are, what they cost a picture; on a Stable Diffusion of 16 px."""
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tiny_model import load_tiny, picture

from jittor_ipl.diffusion import teacher as module
from jittor_ipl.diffusion.pipeline import predicted, text_states
from jittor_ipl.diffusion.teacher import LIKELIHOOD_WEIGHTS, DiffusionTeacher
from jittor_ipl.errors import UserError
from jittor_ipl.images.resample import resized
from jittor_ipl.models.stylegan2.pictures import pictures
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.diffusion import load_diffusion
from jittor_ipl.weights.generator import load_generator

WORDS = ["ring", "a"]


@pytest.fixture(scope="module")
def teacher() -> DiffusionTeacher:
    return DiffusionTeacher(load_tiny())


@pytest.fixture(scope="module")
def seen() -> np.ndarray:
    return np.concatenate([picture(1), picture(2)])


@pytest.fixture(scope="module")
def noise(teacher) -> np.ndarray:
    return np.random.default_rng(3).standard_normal(teacher.latent_shape(2)).astype(np.float32)


def test_equal_words_and_little_noise_return_nearly_the_picture():
    """The way back undoes the inversion up to the steps' size; the autoencoder's own loss is left out. Trained model.
    """
    teacher, source = DiffusionTeacher(load_diffusion("demo:diffusion")), load_generator("demo:generator")
    z = np.random.default_rng(8).standard_normal((4, source.style_dim)).astype(np.float32)
    seen, words = np.clip(pictures(source, z), -1, 1), ["a photo of a face"] * 4
    passed = np.clip(teacher.pictures(teacher.latents(seen)), -1, 1)

    def apart(target: list[str], inversion: float, guidance: float) -> float:
        drawn = teacher.redraw(seen, words, target, inversion=inversion, steps=10, guidance=guidance, residual=0.0)
        return float(np.abs(drawn - passed).mean())
    near, far, other = apart(words, .1, 1.0), apart(words, .5, 1.0), apart(["disney"] * 4, .5, 2.0)
    print(f"mean difference: {near:.4f} at inversion .1, {far:.4f} at .5, {other:.4f} with other words")
    assert near < .01 and near < far < other


def test_a_whole_residual_gives_back_what_the_autoencoder_lost(teacher, seen, monkeypatch):
    """Where the words change nothing the picture comes back: here the networks leave x as it is."""
    monkeypatch.setattr(module, "invert", lambda denoise, x, sigmas: [x])
    monkeypatch.setattr(module, "euler", lambda denoise, x, sigmas: [x])
    whole, half, none = (teacher.redraw(seen, WORDS, WORDS, residual=share) for share in (1.0, .5, 0.0))
    assert np.abs(none - seen).max() > .05
    free = np.abs(teacher.pictures(teacher.latents(seen))) < 1        # not clipped
    assert np.abs(whole - seen).max() < 1e-5
    assert np.abs(half - (none + seen) / 2)[free].max() < 1e-5


def test_pictures_may_have_another_size(teacher):
    large = picture(4, 40)
    drawn = teacher.redraw(large, ["a"], ["ring"], inversion=.5, steps=4)
    assert drawn.shape == large.shape and drawn.dtype == np.float32 and np.abs(drawn).max() <= 1
    assert teacher.latents(large).shape == teacher.latent_shape(1)
    assert np.abs(teacher.latents(large) - teacher.latents(resized(large, 16))).max() == 0


def test_more_steps_than_timesteps_are_told(teacher, seen):
    with pytest.raises(UserError, match="timesteps: lower sampling_steps"):
        teacher.redraw(seen, WORDS, WORDS, inversion=.001, steps=50)


def test_delta_scores_of_equal_pictures_and_words_are_zero(teacher, seen, noise):
    z, change = teacher.score("dds", seen, WORDS, noise, 400, guidance=3.0, before=seen, source=WORDS)
    assert (change == 0).all() and np.abs(z - teacher.latents(seen)).max() == 0
    _, other = teacher.score("dds", seen, WORDS[::-1], noise, 400, guidance=3.0, before=seen, source=WORDS)
    assert np.abs(other).max() > 1e-4


@pytest.mark.parametrize("predicts", ["v_prediction", "epsilon"])
def test_sds_is_the_formula(teacher, seen, noise, predicts):
    """2 s^2 (e - noise), e from the network's own words: a v + s z where it predicts v, itself where it says epsilon.
    """
    other = DiffusionTeacher(load_tiny())
    other.schedule = replace(other.schedule, prediction_type=predicts)
    timestep, guidance = 300, 2.5
    latents, change = other.score("sds", seen, WORDS, noise, timestep, guidance=guidance)
    kept = float(other.schedule.alphas_cumprod[timestep])
    a, s = kept ** .5, (1 - kept) ** .5
    z = (a * latents + s * noise).astype(np.float32)
    said = jt.concat([text_states(other.model, text) for text in WORDS])
    unsaid = jt.concat([text_states(other.model, "")] * 2)
    towards, away = (predicted(other.model, states, z, float(timestep)) for states in (said, unsaid))
    output = away + guidance * (towards - away)
    e = output if predicts == "epsilon" else a * output + s * z
    expected = 2 * s * s * (e - noise)
    error = np.abs(change - expected).max() / np.abs(expected).max()
    print(f"{predicts}: relative error {error:.1e}")
    assert error < 1e-4


def test_likelihood_distillation_weighs_the_principal_directions(teacher, seen, noise):
    """By the eigenvectors of the channels' own Gram matrix, largest first, against the score with weights of 1."""
    timestep = 500
    variance = 1 - float(teacher.schedule.alphas_cumprod[timestep])
    _, sds = teacher.score("sds", seen, WORDS, noise, timestep, guidance=2.0)
    _, got = teacher.score("ld", seen, WORDS, noise, timestep, guidance=2.0)
    plain = (sds / (2 * variance) + noise).astype(np.float64)
    for row, weighted in zip(plain, got):
        flat = row.reshape(len(row), -1)
        _, vectors = np.linalg.eigh(flat @ flat.T)
        vectors = vectors[:, ::-1]
        weights = [LIKELIHOOD_WEIGHTS[min(i, len(LIKELIHOOD_WEIGHTS) - 1)] for i in range(len(row))]
        expected = 2 * variance * sum(w * np.outer(v, v) @ flat for w, v in zip(weights, vectors.T))
        assert np.abs(weighted.reshape(flat.shape) - expected).max() < 1e-3 * np.abs(expected).max()


def test_a_step_of_nothing_moves_no_picture(teacher, seen):
    z = teacher.latents(seen)
    moved = teacher.step(z, np.zeros_like(z), 40)
    assert moved.shape == (2, 3, 40, 40) and (moved == 0).all()


def test_a_step_goes_where_the_latents_should(teacher, seen):
    """The difference of two decoded pictures, at the teacher's own size without anything else."""
    z = teacher.latents(seen)
    change = .3 * (z - teacher.latents(seen[::-1]))
    moved = teacher.step(z, change, 16)
    assert np.abs(moved - (teacher.pictures(z - change) - teacher.pictures(z))).max() < 1e-5


def test_rows_in_parts_give_the_same_pictures(teacher, seen, monkeypatch):
    whole = teacher.redraw(seen, WORDS, WORDS[::-1], steps=3)
    assert teacher.rows == module.ROWS and teacher.bytes < module.BYTES
    monkeypatch.setattr(module, "ROWS", 1)
    assert teacher.rows == 1
    assert np.abs(teacher.redraw(seen, WORDS, WORDS[::-1], steps=3) - whole).max() < 1e-4

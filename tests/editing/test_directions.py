"""The formula of global directions: relevances, thresholds, steps, their inverse, and words that give none."""
from __future__ import annotations

import numpy as np
import pytest

from jittor_ipl.editing.codes import faces_of_seeds
from jittor_ipl.editing.dictionary import Dictionary, load_dictionary, save_dictionary
from jittor_ipl.editing.direction import automatic_beta, moved, relevances, step_of, without
from jittor_ipl.editing.drawing import draw
from jittor_ipl.editing.strength import upper_mean
from jittor_ipl.editing.words import text_direction
from jittor_ipl.errors import UserError

CONVOLUTIONS = (0, 2, 3, 4, 5)          # of the small generator, in the order of Generator.styles


@pytest.fixture
def dictionary(small) -> Dictionary:
    rows = sum(small.styles(small.mean_latent(4, 0))[p].shape[1] for p in CONVOLUTIONS)
    directions = np.random.default_rng(0).standard_normal((rows, 12)).astype(np.float32)
    return Dictionary(directions / np.linalg.norm(directions, axis=1, keepdims=True), CONVOLUTIONS, {}, "d")


def test_a_step_is_the_published_formula(dictionary, statistics):
    text = np.eye(12)[3]
    step = step_of(dictionary, statistics, relevances(dictionary, text), .2)
    wanted = dictionary.directions @ text
    wanted[np.abs(wanted) < .2] = 0
    wanted = wanted / np.abs(wanted).max() * np.concatenate([statistics.std[p] for p in CONVOLUTIONS])
    np.testing.assert_allclose(np.concatenate([step.deltas[p] for p in CONVOLUTIONS]), wanted, atol=1e-6)
    assert step.channels == (wanted != 0).sum() and not step.deltas[1].any()


def test_alpha_zero_changes_nothing_and_minus_alpha_goes_back(small, dictionary, statistics):
    faces = faces_of_seeds(small, [0, 1])
    step = step_of(dictionary, statistics, relevances(dictionary, np.eye(12)[0]), .1)
    for code, same in zip(faces.styles, moved(faces.styles, step, 0.0)):
        np.testing.assert_array_equal(code, same)
    there_and_back = moved(moved(faces.styles, step, np.array([2.0, 5.0])), step, np.array([-2.0, -5.0]))
    for code, back in zip(faces.styles, there_and_back):
        np.testing.assert_allclose(back, code, atol=1e-5)
    before, after = (list(draw(small, codes)) for codes in (faces.styles, moved(faces.styles, step, 0.0)))
    np.testing.assert_array_equal(before, after)


def test_thresholds(dictionary, statistics):
    found = relevances(dictionary, np.eye(12)[1])
    beta = automatic_beta(dictionary, found, 1024)
    assert (np.abs(found) >= beta).sum() > len(found) // 8 or beta == .1
    with pytest.raises(UserError, match="leaves no channel: the largest relevance"):
        step_of(dictionary, statistics, found, 1.1)
    relative = Dictionary(dictionary.directions / 7, dictionary.layers, {"way": "sampled"}, "d")
    assert np.abs(relevances(relative, np.eye(12)[1])).max() == pytest.approx(1)
    with pytest.raises(UserError, match="the direction is zero"):
        relevances(Dictionary(np.zeros_like(dictionary.directions), dictionary.layers, {}, "d"), np.eye(12)[1])


def test_what_is_kept_is_no_longer_moved_along(dictionary):
    text, other = np.eye(12)[0], (np.eye(12)[0] + np.eye(12)[1]) / np.sqrt(2)
    left = without(dictionary, relevances(dictionary, text), [other], ridge=0)
    assert abs(left @ (dictionary.directions @ other)) < 1e-6
    np.testing.assert_array_equal(without(dictionary, left, []), left)


def test_the_upper_mean_is_that_of_the_upper_cluster():
    values = np.concatenate([np.full(30, .1), np.full(10, .5)]) + np.random.default_rng(0).normal(0, .01, 40)
    assert upper_mean(values) == pytest.approx(.5, abs=.02) and upper_mean(np.full(4, .3)) == pytest.approx(.3)


def test_a_dictionary_of_another_generator_is_refused(small, large, dictionary, tmp_path):
    from jittor_ipl.weights.generator import generator_sha256
    facts = {"way": "full", "generator_sha256": generator_sha256(small), "clips": ["a"], "faces": 3,
             "layers": ["conv1", "convs.0", "convs.1", "convs.2", "convs.3"]}
    save_dictionary(tmp_path / "d.safetensors", dictionary.directions, facts)
    read = load_dictionary(tmp_path / "d.safetensors", [small])
    assert read.layers == CONVOLUTIONS and read.facts["faces"] == 3 and not read.relative
    twin = small.copy()
    twin.put({"conv1.activate.bias": np.ones(6, np.float32)})
    assert load_dictionary(tmp_path / "d.safetensors", [twin, small]).layers == CONVOLUTIONS
    for others in ([twin], [large, twin]):
        with pytest.raises(UserError, match="was made for another generator"):
            load_dictionary(tmp_path / "d.safetensors", others)


@pytest.mark.parametrize(("neutral", "target", "why"), [
    ("face", "face", "neutral and target both are"), ("face", " Face ", "neutral and target both are"),
    ("face", "the of a", "no word with a meaning"), ("...", "happy face", "no word with a meaning"),
    ("face", "", "no word with a meaning")])
def test_words_that_give_no_direction_are_refused(clip, neutral, target, why):
    with pytest.raises(UserError, match=why):
        text_direction([clip], neutral, target)


def test_a_text_direction_is_the_unit_difference_of_template_means(clip):
    from jittor_ipl.models.clip.texts import template_features
    means = [template_features(clip, text).numpy().mean(0) for text in ("face", "happy face")]
    means = [mean / np.linalg.norm(mean) for mean in means]
    wanted = (means[1] - means[0]) / np.linalg.norm(means[1] - means[0])
    np.testing.assert_allclose(text_direction([clip], "face", "happy face"), wanted, atol=1e-4)
    assert np.linalg.norm(text_direction([clip, clip], "face", "happy face")) == pytest.approx(1, abs=1e-5)

"""Measured responses: shared renders equal the published ones, derivatives small differences, sums the formula."""
from __future__ import annotations

import numpy as np
import pytest

from jittor_ipl.editing import responses
from jittor_ipl.editing.partial import picture_from, start, steps_to, style_of
from jittor_ipl.editing.preparing import PROGRESS, duration, prepare
from jittor_ipl.editing.statistics import load_statistics, measure_statistics, sampled_styles
from jittor_ipl.editing.ways import WAYS, covariance, make_way
from jittor_ipl.errors import UserError
from jittor_ipl.runtime.backend import jt


@pytest.fixture(scope="module")
def faces(small):
    return next(sampled_styles(small, 2))


def made(name: str, small, clip, statistics, faces: int, texts: np.ndarray | None = None) -> np.ndarray:
    """Return the directions of a way."""
    way = make_way(name, small, [clip], statistics, faces, texts=texts)
    blocks = [way.measure(block) for block in range(way.blocks)]
    return way.finish({"unit": sum(block["unit"] for block in blocks)})


def test_a_synthesis_in_steps_draws_the_same_picture(large):
    codes = [jt.array(code) for code in next(sampled_styles(large, 2))]
    noise, steps = large.noises.as_list(), steps_to(large, 32)
    assert (steps, steps_to(large, 16), steps_to(large, 9), steps_to(large, 999)) == (7, 5, 5, 7)
    with jt.no_grad():
        whole = large.synthesis_from_styles(codes)
        parts = picture_from(large, 0, start(large), codes, noise, 7)
        np.testing.assert_array_equal(parts.numpy(), whole.numpy())
        assert picture_from(large, 0, start(large), codes, noise, 5).shape == [2, 3, 16, 16]


def test_shared_renders_measure_what_the_published_procedure_measures(small, clip, statistics, faces):
    one = tuple(code[:1] for code in faces)
    found = responses.shared_responses(small, [clip], one, statistics, steps_to(small, 16))
    at = 0
    for step in range(5):
        position = style_of(step)
        for channel in (0, len(statistics.std[position]) - 1):
            wanted = responses.published_responses(small, [clip], one, statistics, position, channel)[0]
            assert np.abs(found[at + channel] - wanted).max() < .01     # the published one keeps pictures in 8 bits
        at += len(statistics.std[position])
    assert len(found) == at


def test_derived_responses_are_the_limit_of_measured_ones(small, clip, statistics, faces):
    """A channel moved by a small part of its deviation changes the features as the derivative says."""
    axes = np.random.default_rng(0).standard_normal((3, 12))
    found = responses.derived_responses(small, [clip], faces, statistics, 5, axes)
    at, noise = len(statistics.std[0]), small.noises.as_list()
    position, channel, part = style_of(1), 2, .05
    pair = []
    for sign in (1, -1):
        codes = [code.copy() for code in faces]
        codes[position][:, channel] += sign * part * statistics.std[position][channel]
        with jt.no_grad():
            pair.append(responses.features([clip], picture_from(small, 0, start(small), [jt.array(c) for c in codes],
                                                                noise, 5)).numpy())
    wanted = (pair[0] - pair[1]) @ axes.T / part
    np.testing.assert_allclose(found[:, at + channel], wanted, rtol=.05, atol=.02 * np.abs(found).max())


def test_chosen_channels_are_measured_as_among_all(small, clip, statistics, faces):
    one, chosen = tuple(code[:1] for code in faces), np.zeros(sum(responses.channels_of(statistics, 5)), bool)
    chosen[[0, 7, 8, len(chosen) - 1]] = True
    found = responses.shared_responses(small, [clip], one, statistics, 5, chosen=chosen)
    np.testing.assert_allclose(found, responses.shared_responses(small, [clip], one, statistics, 5)[chosen], atol=1e-6)


def test_first_order_renders_the_channels_that_change_most(small, clip, statistics, monkeypatch):
    """All of them rendered it is the full way; of some, theirs are the full way's rows and no others."""
    full = made("full", small, clip, statistics, 3)
    monkeypatch.setattr("jittor_ipl.editing.ways.FAR", 1)
    np.testing.assert_allclose(made("first-order", small, clip, statistics, 3), full, atol=1e-4)
    monkeypatch.setattr("jittor_ipl.editing.ways.FAR", 1 / 5)
    one, found = (made(name, small, clip, statistics, 1) for name in ("full", "first-order"))
    codes = next(sampled_styles(small, 1))
    slopes = np.linalg.norm(responses.derived_responses(small, [clip], codes, statistics, 5, np.eye(12))[0], axis=1)
    far = np.argsort(-slopes)[:round(len(slopes) / 5)]
    same = np.abs(found - one).max(1) < 1e-4
    assert same[far].all() and same.sum() < len(slopes) / 2


@pytest.mark.parametrize("probes, error", [(12, 1e-4), (6, .3)])
def test_a_few_targets_are_answered_as_by_all_axes(small, clip, statistics, monkeypatch, probes, error):
    """To the last digit where the axes that tell lengths span the space; the scale is free."""
    monkeypatch.setattr("jittor_ipl.editing.ways.PROBES", probes)
    texts = np.random.default_rng(1).standard_normal((2, 12))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    whole, few = (made("first-order", small, clip, statistics, 3, only) @ texts.T
                  for only in (None, texts))
    far = few / np.linalg.norm(few) - whole / np.linalg.norm(whole)
    assert np.linalg.norm(far) < error


def test_covariance_is_numpys():
    random = np.random.default_rng(0)
    styles, seen = random.standard_normal((50, 4)) * [1, 2, 3, 0], random.standard_normal((50, 3))
    sums = {"count": np.array([50.0]), "styles": styles.sum(0), "squares": (styles**2).sum(0), "seen": seen.sum(0),
            "products": styles.T @ seen}
    wanted = np.cov(styles[:, :3].T, seen.T, bias=True)[:3, 3:] / styles[:, :3].std(0)[:, None]
    found = covariance(sums)
    np.testing.assert_allclose(found[:3], wanted / np.linalg.norm(wanted, axis=1).max(), atol=1e-6)
    assert not found[3].any()


@pytest.mark.parametrize("name", WAYS)
def test_a_stopped_preparation_goes_on(small, clip, statistics, name, tmp_path, monkeypatch):
    monkeypatch.setattr("jittor_ipl.editing.responses._PIXELS", 4 * 16**2)       # several blocks
    monkeypatch.setattr("jittor_ipl.editing.preparing.EVERY", 0)
    way, told = make_way(name, small, [clip], statistics, 20 if name == "sampled" else 3), []
    facts = {"generator_sha256": "0", "clips": ["c"]}
    whole = prepare(way, tmp_path / "whole", facts, told.append).read_bytes()
    assert "renders" in told[0] and "about" in told[0] and way.blocks > 1
    broken = make_way(name, small, [clip], statistics, 20 if name == "sampled" else 3)
    real = broken.measure

    def stops(block):
        if block == 1:
            raise KeyboardInterrupt
        return real(block)
    object.__setattr__(broken, "measure", stops)
    with pytest.raises(KeyboardInterrupt):
        prepare(broken, tmp_path / "stopped", facts, told.append)
    assert (tmp_path / "stopped" / PROGRESS).is_file()
    with pytest.raises(UserError, match="the beginning of another dictionary"):
        prepare(way, tmp_path / "stopped", {**facts, "clips": ["other"]}, told.append)
    assert prepare(way, tmp_path / "stopped", facts, told.append).read_bytes() == whole
    assert any("going on after 1 of" in line for line in told) and not (tmp_path / "stopped" / PROGRESS).exists()


def test_statistics_are_numpys_and_come_back_from_a_file(small, tmp_path):
    from jittor_ipl.editing.preparing import write_statistics
    found = measure_statistics(small, count=300)
    codes = next(sampled_styles(small, 300))
    for mean, std, code in zip(found.mean, found.std, codes):
        np.testing.assert_allclose(mean, code.mean(0), atol=1e-5)
        np.testing.assert_allclose(std, code.std(0), atol=1e-5)
    write_statistics(tmp_path / "s.safetensors", found.tensors(small), "0" * 64)
    again = load_statistics(tmp_path / "s.safetensors", small)
    for part in ("mean", "std"):
        for one, other in zip(getattr(found, part), getattr(again, part)):
            np.testing.assert_array_equal(one, other)


def test_times_are_told_as_people_say_them():
    assert [duration(s) for s in (40, 720, 12600)] == ["40 s", "12 min", "3.5 h"]

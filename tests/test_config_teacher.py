"""The section `teacher` of a suite: its mistakes in one line, and what it does to hashes."""
from __future__ import annotations

from pathlib import Path

import pytest

from jittor_ipl.adaptation.taught import numbers_of
from jittor_ipl.commands.train_all import _overrides
from jittor_ipl.config import StyleRun, load_suite
from jittor_ipl.errors import UserError


def load(tmp_path: Path, teacher: str, method: str = "method: teacher") -> StyleRun:
    path = tmp_path / "suite.yaml"
    path.write_text(f"suite: demo\nstyles: [disney]\n{method}\n{teacher}\n", encoding="utf-8")
    return load_suite(path).runs()[0]


@pytest.mark.parametrize("text, expected", [
    ("", "method teacher needs a section teacher"),
    ("teacher: {wayz: [pairs]}", "teacher: unknown key 'wayz' (did you mean 'ways'?)"),
    ("teacher: {ways: [pears]}", "'pairs', 'dds', 'sds' or 'ld' (given: 'pears')"),
    ("teacher: {ways: []}", "teacher.ways"),
    ("teacher: {ways: [pairs, pairs]}", "teacher.ways names a way twice"),
    ("teacher: {model: ''}", "teacher.model"),
    ("teacher: {source: '{target}'}", "teacher.source names {target}; choose {class} or {description}"),
    ("teacher: {target: '{class}'}", "teacher.target names {class}; choose {target} or {description}"),
    ("teacher: {describe: faces}", "say {description} in source and target, or leave it out"),
    ("teacher: {source: '{description}'}", "set it to portraits, faces, pets or a file"),
    ("teacher: {pairs: {count: 4, batch: 5}}", "pairs.batch 5 is more than pairs.count 4"),
    ("teacher: {pairs: {inversion: 1.5}}", "teacher.pairs.inversion"),
    ("teacher: {pairs: {guidance: -1}}", "teacher.pairs.guidance"),
    ("teacher: {scores: {noise_from: 0.6}}", "noise_from 0.6 must be below noise_to 0.98 and noise_last 0.5"),
    ("teacher: {clip: -1}", "teacher.clip"),
])
def test_a_mistake_is_told_in_one_line(tmp_path, text, expected):
    with pytest.raises(UserError) as told:
        load(tmp_path, text)
    assert expected in str(told.value) and "\n" not in str(told.value)


def test_another_method_does_not_read_the_teacher(tmp_path):
    without, with_one = (load(tmp_path, text, "method: nada") for text in ("", "teacher: {ways: [sds]}"))
    assert with_one.training_hash() == without.training_hash()


def test_the_training_hash_follows_the_teacher(tmp_path):
    texts = ("{}", "{ways: [dds]}", "{ways: [pairs, dds]}", "{pairs: {guidance: 3}}", "{scores: {strength: 2}}",
             "{clip: 1}", "{model: other}")
    hashes = {load(tmp_path, f"teacher: {text}").training_hash() for text in texts}
    assert len(hashes) == len(texts)
    assert load(tmp_path, "teacher: {pairs: {inversion: 0.75}}").training_hash() in hashes      # the default, said


def test_the_numbers_of_a_way_take_the_place_of_the_generators(tmp_path):
    run = load(tmp_path, "teacher: {pairs: {steps: 7, batch: 3, lr: 0.1}, scores: {steps: 9}}\n"
                         "generator: {mixing: 0.5, noise: random, ema: 0.9}")
    pairs, scores = (numbers_of(run, way) for way in ("pairs", "dds"))
    assert (pairs.steps, pairs.batch, pairs.lr, pairs.mixing, pairs.noise) == (7, 3, 0.1, 0.0, "const")
    assert (scores.steps, scores.mixing, scores.noise) == (9, 0.5, "random") and pairs.ema == scores.ema == 0.9


def test_the_distance_of_scores_is_in_the_hash_once_it_is_named(tmp_path):
    """Weights trained before there was a choice keep their hash."""
    hashes = [load(tmp_path, f"teacher: {{scores: {{{named}}}}}").training_hash()
              for named in ("", "distance: auto", "distance: squared", "distance: absolute")]
    assert hashes[0] == hashes[1] and len(set(hashes)) == 3


@pytest.mark.parametrize(("name", "suite", "notes"), [
    ("demo_pets", "demo_pets-nada", ["demo_pets_clip.yaml has those for CLIP alone"]), ("demo_clip", "demo_clip", [])])
def test_by_clip_alone_a_teacher_s_suite_names_the_one_made_for_that(capsys, name, suite, notes):
    config = Path(__file__).resolve().parents[1] / "configs" / f"{name}.yaml"
    assert _overrides(config, "nada", [], []) == ["method=nada", f'suite="{suite}"']
    told = capsys.readouterr().err.splitlines()
    assert len(told) == len(notes) and all(note in line for note, line in zip(notes, told))

"""Adaptation by a teacher: pairs that survive an interruption or damage, whole runs that resume to the same bits."""
from __future__ import annotations

import io
import signal
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.adaptation import adapt
from jittor_ipl.adaptation.adapt import adapt_style
from jittor_ipl.adaptation.lessons import ScoreLesson
from jittor_ipl.adaptation.pairs import Pairs, make_pairs
from jittor_ipl.config import StyleRun, load_suite
from jittor_ipl.config.teacher import PairsTraining, Teacher
from jittor_ipl.diffusion.teacher import DiffusionTeacher, load_teacher
from jittor_ipl.jobs.signals import Interrupted
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.containers.safetensors import read_safetensors
from jittor_ipl.weights.generator import load_generator
from tests.tiny_networks import write_networks, write_suite

SUITE = """
suite: taught
source: {{generator: {folder}/generator.safetensors, mean_latent_samples: 64}}
clip: [{{model: demo:clip-local}}]
method: teacher
teacher:
  model: demo:diffusion
  source: "{{class}} {{description}}"
  target: "{{target}} {{description}}"
  describe: portraits
  ways: [pairs, dds]
  pairs: {{count: 5, steps: 2, batch: 2, sampling_steps: 2, at_once: 2}}
  scores: {{steps: 2, batch: 2}}
generator: {{layers: all, ema: 0.5}}
run: {{sample_every: 2, samples: 2, checkpoint_every: 1, log_every: 1, tensorboard: false}}
styles: [disney]
"""
SETTINGS = PairsTraining(count=5, batch=2, sampling_steps=2, at_once=2)


class Stop:
    """Behaves as if Ctrl-C came during the look at the flag after `looks` others."""

    def __init__(self, looks: int):
        self.looks = looks

    def raise_if_received(self) -> None:
        self.looks -= 1
        if self.looks < 0:
            raise Interrupted(signal.SIGINT)


class StopAt(adapt.StopOnSignal):
    """The same for a whole run."""

    looks = 0

    @property
    def received(self):
        type(self).looks -= 1
        return signal.SIGINT if type(self).looks < 0 else None

    @received.setter
    def received(self, value):
        pass


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> Path:
    return write_networks(tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def source(networks) -> Generator:
    return load_generator(networks / "generator.safetensors")


@pytest.fixture(scope="module")
def teacher() -> DiffusionTeacher:
    return load_teacher("demo:diffusion")


def words(before: np.ndarray) -> tuple[list[str], list[str]]:
    return ["photo"] * len(before), ["disney"] * len(before)


def made(folder: Path, source: Generator, teacher: DiffusionTeacher, identity: str = "one", **options) -> Pairs:
    return make_pairs(folder, source, teacher, SETTINGS, words, 3, identity, stream=io.StringIO(), **options)


def parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def test_interrupted_pairs_go_on_to_the_same_bits(source, teacher, tmp_path):
    straight = made(tmp_path / "straight", source, teacher)
    assert straight.redrawn.shape == (5, 32, 32, 3) and straight.z.shape == (5, source.style_dim)
    with pytest.raises(Interrupted):
        made(tmp_path / "stopped", source, teacher, stop=Stop(1))
    stopped = parts(tmp_path / "stopped")
    assert sorted(stopped) == ["000000.safetensors", "000002.safetensors"]
    resumed = made(tmp_path / "stopped", source, teacher)
    assert (resumed.z == straight.z).all() and (resumed.redrawn == straight.redrawn).all()
    now = parts(tmp_path / "stopped")
    assert len(now) == 3 and {name: now[name] for name in stopped} == stopped       # kept, not made again


def test_pairs_that_are_damaged_or_of_other_settings_are_made_again(source, teacher, tmp_path):
    straight = made(tmp_path, source, teacher)
    whole = parts(tmp_path)
    second = tmp_path / "000002.safetensors"
    for damaged in (whole[second.name][:-7], b"", whole["000004.safetensors"]):     # the last one has another count
        second.write_bytes(damaged)
        assert (made(tmp_path, source, teacher).redrawn == straight.redrawn).all()
        assert read_safetensors(second)[0]["redrawn"].shape == (2, 32, 32, 3)
        assert parts(tmp_path)["000000.safetensors"] == whole["000000.safetensors"]
    told = io.StringIO()
    make_pairs(tmp_path, source, teacher, SETTINGS, words, 3, "another", stream=told)
    assert told.getvalue().count("pairs") == 3


def config(networks: Path, *overrides: str) -> StyleRun:
    return load_suite(write_suite(networks, SUITE), overrides).runs()[0]


def run(settings: StyleRun, folder: Path):
    return adapt_style(settings, folder, stream=io.StringIO())


@pytest.fixture(scope="module")
def straight(networks, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    report = run(config(networks), folder)
    assert report.method == "teacher" and report.seconds > 0
    return folder


def test_a_run_moves_the_generator_in_both_ways(networks, straight):
    source, target = (read_safetensors(folder / "generator.safetensors")[0] for folder in (networks, straight))
    assert [name for name in source if (source[name] != target[name]).any()]
    assert sorted(path.name for path in (straight / "checkpoints").iterdir()) == ["dds", "pairs"]
    assert len(parts(straight / "pairs")) == 3


@pytest.mark.parametrize("looks", [1, 3, 5, 6])
def test_a_run_stopped_anywhere_resumes_to_the_same_bits(networks, straight, tmp_path, monkeypatch, looks):
    """Looks 0 to 2 come after the pairs' parts, 3 and 4 after the steps from pairs, then one between, then dds."""
    with monkeypatch.context() as patch:
        patch.setattr(adapt, "StopOnSignal", StopAt)
        StopAt.looks = looks
        with pytest.raises(Interrupted):
            run(config(networks), tmp_path)
    run(config(networks), tmp_path)
    ours, theirs = (read_safetensors(folder / "generator.safetensors")[0] for folder in (tmp_path, straight))
    assert [key for key in ours if ours[key].tobytes() != theirs[key].tobytes()] == []
    assert run(config(networks), tmp_path).skipped


@pytest.mark.parametrize("way", ["sds", "ld"])
def test_the_other_ways_train_with_clip_beside_them(networks, tmp_path, way):
    report = run(config(networks, f"teacher.ways=[{way}]", "teacher.clip=0.5", "teacher.scores.steps=1",
                        "run.samples=0"), tmp_path)
    told = (tmp_path / "metrics.jsonl").read_text()
    assert "lesson" in told and "directional" in told and report.seconds > 0


@pytest.mark.parametrize("distance, first, squared", [
    ("auto", True, True), ("auto", False, False), ("squared", False, True), ("absolute", True, False)])
def test_the_distance_that_a_score_is_learnt_by(distance, first, squared):
    """Squared, the gradient is the step itself, which is how the ways of scores were published."""
    settings = Teacher(scores={"distance": distance})
    lesson = ScoreLesson("dds", None, None, None, settings, 0, first)
    step = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    images = jt.array(np.zeros_like(step))
    gradient = jt.grad(lesson.loss(images, jt.array(step)), images).numpy()
    assert np.allclose(gradient, -2 * step / step.size, atol=1e-7) == squared

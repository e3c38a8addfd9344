"""Every mapper and the loss on a list of prompts, from a suite to adapted weights, and on after an interruption."""
from __future__ import annotations

import io
import json
import signal
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.adaptation import adapt
from jittor_ipl.adaptation.adapt import adapt_style
from jittor_ipl.adaptation.inputs import run_identity
from jittor_ipl.config import StyleRun, load_config, load_suite
from jittor_ipl.jobs.signals import Interrupted
from jittor_ipl.models.mappers import ARCHITECTURES
from jittor_ipl.weights.containers.safetensors import read_safetensors, write_safetensors
from jittor_ipl.weights.mapper import load_mapper
from tests.tiny_networks import write_networks, write_suite

SUITE = """
suite: tiny
source: {{generator: {folder}/generator.safetensors, mean_latent_samples: 16}}
clip: [{{model: {folder}/clip.safetensors}}]
mapper: {{steps: 3, batch: 3, lr: 0.05, lambda_prompts: 0.2, prompts: {folder}/prompts.txt, mixing: 0.7}}
generator: {{steps: 1, batch: 2, layers: all, mixing: 0.9}}
run: {{samples: 0, checkpoint_every: 2, log_every: 1, tensorboard: false}}
styles: [disney]
"""


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> Path:
    """A folder with a tiny random generator and CLIP and a list of prompts."""
    folder = write_networks(tmp_path_factory.mktemp("networks"), size=16)
    (folder / "prompts.txt").write_text("a {} face with large eyes\nsoft round cheeks\n")
    return folder


def config(networks: Path, *overrides: str) -> StyleRun:
    return load_suite(write_suite(networks, SUITE), overrides).runs()[0]


def run(settings: StyleRun, folder: Path) -> list[dict]:
    """Adapt in `folder` and return what was measured in stage 1."""
    adapt_style(settings, folder, stream=io.StringIO())
    records = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [record for record in records if record["stage"] == "mapper"]


def weights(folder: Path) -> dict[str, bytes]:
    return {f"{name} {key}": value.tobytes() for name in ("mapper", "generator")
            for key, value in read_safetensors(folder / f"{name}.safetensors")[0].items()}


class StopAfterTwoSteps(adapt.StopOnSignal):
    """Behaves as if Ctrl-C came during the second step."""

    looks = 0

    @property
    def received(self):
        type(self).looks += 1
        return signal.SIGINT if type(self).looks >= 2 else None

    @received.setter
    def received(self, value):
        pass


@pytest.mark.parametrize("architecture, compat",
                         [*((name, "none") for name in ARCHITECTURES), ("transformer_v3", "official")])
def test_a_run_resumes_to_the_same_bits(networks, tmp_path, monkeypatch, architecture, compat):
    settings = config(networks, f"mapper.architecture={architecture}", f"compat={compat}")
    measured = run(settings, tmp_path / "straight")
    with monkeypatch.context() as patch:
        patch.setattr(adapt, "StopOnSignal", StopAfterTwoSteps)
        StopAfterTwoSteps.looks = 0
        with pytest.raises(Interrupted):
            run(settings, tmp_path / "stopped")
    assert not (tmp_path / "stopped" / "mapper.safetensors").exists()
    again = run(settings, tmp_path / "stopped")
    assert weights(tmp_path / "stopped") == weights(tmp_path / "straight")
    assert [record["loss"] for record in again] == [record["loss"] for record in measured]
    for record in measured:
        parts = record["contrastive"] + record["domain"] + 0.2 * record["prompts"]
        assert record["loss"] == pytest.approx(parts, rel=1e-5) and 0 <= record["prompts"] <= 2
    assert load_config(tmp_path / "straight" / "config.yaml", StyleRun) == settings
    assert type(load_mapper(tmp_path / "straight" / "mapper.safetensors")).__name__ in (
        "PromptMapper", "TransformerMapper", "LevelsMapper")


def test_the_loss_pulls_towards_the_list(networks, tmp_path):
    longer = ["mapper.steps=12", "mapper.replace_domain=true", "mapper.mixing=0", "mapper.lr=1.0", "generator.steps=0"]
    pulled = run(config(networks, *longer, "mapper.lambda_prompts=20"), tmp_path / "pulled")
    left = run(config(networks, *longer, "mapper.lambda_prompts=0.001"), tmp_path / "left")
    first, last, unweighted = (records[i]["prompts"] for records, i in ((pulled, 0), (pulled, -1), (left, -1)))
    print(f"prompts loss {first:.3f} -> {last:.3f}, unweighted {unweighted:.3f}")
    assert pulled[-1]["prompts"] < 0.9 * pulled[0]["prompts"] and pulled[-1]["prompts"] < left[-1]["prompts"]
    first = pulled[0]
    assert first["loss"] == pytest.approx(first["contrastive"] + 20 * first["prompts"], rel=1e-5)


def test_the_words_of_the_list_belong_to_the_run(networks):
    settings, path = config(networks), networks / "prompts.txt"
    before, text = run_identity(settings), path.read_text()
    path.write_text(text + "one line more\n")
    assert run_identity(settings) != before
    path.write_text(text)
    assert run_identity(settings) == before
    unused = config(networks, "mapper.lambda_prompts=0")
    path.write_text("other words\n")
    after = run_identity(unused)
    path.write_text(text)
    assert run_identity(unused) == after


def test_a_folder_of_a_clip_belongs_to_the_run(networks, tmp_path):
    """A CLIP may be a folder, as Hugging Face keeps them: its weights and its configuration are part of the run."""
    folder = tmp_path / "clip"
    folder.mkdir()
    write_safetensors(folder / "model.safetensors", {"a": np.zeros(1, "f4")})
    (folder / "config.json").write_text("{}")
    settings = config(networks, f"clip=[{{model: {folder}}}]")
    before = run_identity(settings)
    (folder / "README.md").write_text("no part of it")
    assert run_identity(settings) == before
    (folder / "config.json").write_text('{"hidden_act": "gelu"}')
    changed = run_identity(settings)
    write_safetensors(folder / "model.safetensors", {"a": np.ones(1, "f4")})
    assert len({before, changed, run_identity(settings)}) == 3

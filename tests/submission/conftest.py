"""A suite of two finished runs with tiny random generators: nothing is trained, nothing of the demo world is needed."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

SUITE = """
suite: tiny
seed: 3
source: {{class: photo, generator: "{folder}/source.safetensors", mean_latent_samples: 32}}
generate: {{seeds: 0-4, truncation: 0.7, noise: const}}
styles: [disney, anime painting]
"""


@pytest.fixture(scope="session")
def work(tmp_path_factory) -> Path:
    """A folder with source.safetensors, suite.yaml and runs/tiny/<NN>-<style>/."""
    from jittor_ipl.config import load_suite, save_config
    from jittor_ipl.models.strict import load_into, numpy_tensors
    from jittor_ipl.models.stylegan2.config import GeneratorConfig
    from jittor_ipl.models.stylegan2.generator import Generator
    from jittor_ipl.weights.generator import load_generator, save_generator
    folder = tmp_path_factory.mktemp("work")
    source = Generator(GeneratorConfig(16, style_dim=16, n_mlp=2, channels={4: 8, 8: 8, 16: 4}),
                       np.random.default_rng(1))
    save_generator(source, folder / "source.safetensors")
    (folder / "suite.yaml").write_text(SUITE.format(folder=folder))
    for run in load_suite(folder / "suite.yaml").runs():
        target, random = load_generator(folder / "source.safetensors"), np.random.default_rng(run.number)
        moved = {name: value + 0.3 * random.standard_normal(value.shape).astype(np.float32) if "conv" in name and
                 name.endswith("weight") else value for name, value in numpy_tensors(target).items()}
        load_into(target, moved, source="test")
        place = folder / "runs" / "tiny" / run.folder
        place.mkdir(parents=True)
        save_config(run, place / "config.yaml")
        save_generator(target, place / "generator.safetensors")
    return folder


@pytest.fixture
def workplace(work, tmp_path, monkeypatch) -> Path:
    """A fresh current folder whose runs/ is the tiny suite's; results go below it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(work / "runs")
    return tmp_path

"""Tiny generators, a tiny CLIP that sees 16 px, the statistics of a style space, and files of such networks."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.editing.codes import Faces, faces_of_file, faces_of_seeds
from jittor_ipl.editing.statistics import StyleStatistics, measure_statistics
from jittor_ipl.models.clip.config import ClipConfig
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.weights.generator import load_generator
from jittor_ipl.weights.tuned import Tuned, save_tuned
from tests.tiny_networks import write_networks


@pytest.fixture(scope="session")
def networks(tmp_path_factory) -> Path:
    """Files of a generator and of a CLIP, for commands."""
    return write_networks(tmp_path_factory.mktemp("networks"), size=8)


@pytest.fixture(scope="session")
def generator(networks) -> Generator:
    """The generator of these files."""
    return load_generator(networks / "generator.safetensors")


@pytest.fixture
def tuned_face(generator, tmp_path) -> Faces:
    """The face of me.safetensors in the test's folder, which carries the generator that was tuned to it."""
    tuned, path = generator.copy(), tmp_path / "me.safetensors"
    tuned.put({"to_rgbs.0.bias": np.full((1, 3, 1, 1), .4, np.float32)})
    save_tuned(Tuned(tuned, faces_of_seeds(generator, [4]).ws, ("me",)), generator, path)
    return faces_of_file(generator, path)


@pytest.fixture(scope="session")
def large() -> Generator:
    return Generator(GeneratorConfig(32, style_dim=32, n_mlp=2, channels={4: 12, 8: 12, 16: 8, 32: 6}),
                     np.random.default_rng(1))


@pytest.fixture(scope="session")
def small() -> Generator:
    return Generator(GeneratorConfig(16, style_dim=16, n_mlp=2, channels={4: 6, 8: 5, 16: 4}),
                     np.random.default_rng(3))


@pytest.fixture(scope="session")
def clip() -> Clip:
    return Clip(ClipConfig(embed_dim=12, image_resolution=16, vision_layers=1, vision_width=64, vision_patch_size=8,
                           transformer_width=32, transformer_heads=2, transformer_layers=1)
                ).initialise(np.random.default_rng(2))


@pytest.fixture(scope="session")
def statistics(small) -> StyleStatistics:
    return measure_statistics(small, count=500)

"""A tiny generator, a tiny CLIP that sees 16 px, and the statistics of the generator's style space."""
from __future__ import annotations

import numpy as np
import pytest

from jittor_ipl.editing.statistics import StyleStatistics, measure_statistics
from jittor_ipl.models.clip.config import ClipConfig
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator


@pytest.fixture(scope="session")
def generator() -> Generator:
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

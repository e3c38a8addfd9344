"""The compact encoder: its shapes, its first values, its file, and the one generator that it belongs to."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.inversion.encode import encode_with
from jittor_ipl.models.encoders.compact import CompactConfig, CompactEncoder, initialise
from jittor_ipl.models.strict import numpy_tensors
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.compact_encoder import load_compact
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.delta import fingerprint
from jittor_ipl.weights.inspect import inspect

CONFIG = CompactConfig(size=16, style_dim=12, widths=(4, 8), hidden=6, groups=2)
RNG = np.random.default_rng(4)


def generator(seed: int = 1) -> Generator:
    return Generator(GeneratorConfig(16, style_dim=12, n_mlp=1, channels={4: 4, 8: 4, 16: 4}),
                     np.random.default_rng(seed))


def stored(path: Path, encoder: CompactEncoder, owner: Generator, **config: object) -> Path:
    numbers = {**encoder.config.to_json(), **config}
    write_safetensors(path, numpy_tensors(encoder), {"kind": "compact-encoder", "config": json.dumps(numbers),
                                                     "source_sha256": fingerprint(numpy_tensors(owner))})
    return path


def test_it_begins_near_the_mean_code_and_sees_the_picture() -> None:
    mean = RNG.standard_normal(12).astype(np.float32)
    encoder = initialise(CompactEncoder(CONFIG), np.random.default_rng(0), mean)
    pictures = RNG.uniform(-1, 1, (3, 3, 16, 16)).astype(np.float32)
    codes = encoder(jt.array(pictures)).numpy()
    assert codes.shape == (3, 12) and np.abs(codes - mean).max() < 1.5 and np.ptp(codes, axis=0).max() > 1e-3
    one = encoder.code(pictures[:1], 6)
    assert one.shape == (6, 12) and np.allclose(one, codes[:1], atol=1e-5)


def test_it_comes_back_from_its_file_for_its_generator_alone(tmp_path: Path) -> None:
    encoder, owner = initialise(CompactEncoder(CONFIG), RNG, np.zeros(12, np.float32)), generator()
    path = stored(tmp_path / "e.safetensors", encoder, owner)
    picture = RNG.uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    wanted = encoder.code(picture, owner.n_latent)
    assert np.array_equal(encode_with(str(path), owner)(picture), wanted)
    assert inspect(path).networks[0].kind == "compact-encoder"
    with pytest.raises(UserError, match="trained with another generator"):
        load_compact(path, generator(2))
    with pytest.raises(UserError, match="widths"):
        load_compact(stored(tmp_path / "e.safetensors", encoder, owner, widths=[4]), owner)
    with pytest.raises(UserError, match="numbers of a compact encoder"):
        load_compact(stored(tmp_path / "e.safetensors", encoder, owner, depth=3), owner)

"""Codes by encoders: one pass or ReStyle's loop, what is added to what, pairs that do not fit."""
from __future__ import annotations

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.inversion.encode import encode_with, encodings
from jittor_ipl.models.encoders.config import EncoderConfig
from jittor_ipl.models.encoders.encoder import InversionEncoder
from jittor_ipl.models.strict import numpy_tensors
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.ops.resize import axis_matrix
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.containers.torch_writer import write_torch
from jittor_ipl.weights.generator import load_generator
from tests.tiny_networks import drawn_encoder, write_encoder

GENERATOR = Generator(GeneratorConfig(64, 16, 2, {4: 8, 8: 8, 16: 8, 32: 4, 64: 4}), np.random.default_rng(0))
MEAN = np.random.default_rng(1).standard_normal((10, 16)).astype(np.float32)
PICTURE = np.tanh(np.random.default_rng(2).standard_normal((1, 3, 128, 128))).astype(np.float32)


def encoder(channels: int, heads: str = "flat", n_styles: int = 10, mean: np.ndarray | None = MEAN) -> InversionEncoder:
    numbers = EncoderConfig("ir", heads, layers=18, width=2, style_dim=16, input_size=32, input_channels=channels,
                            n_styles=n_styles)
    made = drawn_encoder(numbers, 3)
    made.latent_avg = mean
    return made


def averaged(picture: np.ndarray, mode: str, antialias: bool) -> np.ndarray:
    rows = axis_matrix(picture.shape[2], 32, mode, antialias)
    return np.einsum("hi,bciw,jw->bchj", rows, picture, rows).astype(np.float32)


def test_restyle_adds_what_it_sees_missing():
    network = encoder(6)
    x, codes, expected = averaged(PICTURE, "bilinear", True), MEAN, []
    for _ in range(3):
        with jt.no_grad():
            drawn = averaged(GENERATOR.synthesis(jt.array(codes[None])).numpy(), "area", False)
            codes = codes + network(jt.array(np.concatenate([x, drawn], 1))).numpy()[0]
        expected.append(codes)
    found = encodings(network, GENERATOR, PICTURE, 3)
    assert len(found) == 3 and np.abs(found[2] - found[0]).max() > 1e-3
    np.testing.assert_allclose(np.stack(found), np.stack(expected), atol=1e-5)
    assert len(encodings(network, GENERATOR, PICTURE)) == 5


@pytest.mark.parametrize("mean", [MEAN, None])
def test_one_pass_is_relative_to_the_mean_where_there_is_one(mean):
    network = encoder(3, mean=mean)
    with jt.no_grad():
        codes = network(jt.array(averaged(PICTURE, "bilinear", True))).numpy()[0]
    found, = encodings(network, GENERATOR, PICTURE)
    np.testing.assert_allclose(found, codes + (0 if mean is None else mean), atol=1e-5)


def test_one_w_is_every_layers():
    found, = encodings(encoder(3, "w", 1, MEAN[:1]), GENERATOR, PICTURE)
    assert found.shape == (10, 16) and (found == found[:1]).all()


def test_what_does_not_belong_together():
    with pytest.raises(UserError, match="gives 8 codes of width 16; a 64 px generator like this takes 10 of width 16"):
        encodings(encoder(3, n_styles=8, mean=MEAN[:8]), GENERATOR, PICTURE)
    with pytest.raises(UserError, match="starts from the mean w, and this one has none"):
        encodings(encoder(6, mean=None), GENERATOR, PICTURE)
    with pytest.raises(UserError, match="takes 0 steps"):
        encodings(encoder(6), GENERATOR, PICTURE, 0)


def test_an_encoder_in_a_file(tmp_path):
    network = encoder(6)
    write_encoder(network, tmp_path / "restyle.safetensors")
    found = encode_with(tmp_path / "restyle.safetensors", GENERATOR, 2)(PICTURE)
    np.testing.assert_array_equal(found, encodings(network, GENERATOR, PICTURE, 2)[-1])
    write_encoder(encoder(3, n_styles=8, mean=MEAN[:8]), tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="take the encoder that was trained for it"):
        encode_with(tmp_path / "other.safetensors", GENERATOR)
    with pytest.raises(UserError, match="stylegan2"):
        encode_with("demo:generator", GENERATOR)


def test_a_published_checkpoint_is_encoder_and_generator_in_one(tmp_path):
    network, options = encoder(6), {"encoder_type": "BackboneEncoder", "output_size": 64, "input_nc": 6}
    tensors = {f"encoder.{name}": array for name, array in numpy_tensors(network).items()}
    tensors |= {f"decoder.{name}": array for name, array in numpy_tensors(GENERATOR).items()}
    mean = np.repeat(MEAN[:1], 10, 0)
    write_torch(tmp_path / "restyle_psp.pt", {"state_dict": tensors, "latent_avg": mean, "opts": options})
    generator = load_generator(tmp_path / "restyle_psp.pt")
    np.testing.assert_array_equal(generator.latent_avg, MEAN[0])
    network.latent_avg = mean
    found = encode_with(tmp_path / "restyle_psp.pt", generator, 2)(PICTURE)
    np.testing.assert_allclose(found, encodings(network, GENERATOR, PICTURE, 2)[-1], atol=1e-6)

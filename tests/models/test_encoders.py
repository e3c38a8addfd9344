"""Inversion encoders: their numbers, what each class adds up to, files in and out."""
from __future__ import annotations

import numpy as np
import pytest
from network_names import FIXTURES

from jittor_ipl.errors import UserError
from jittor_ipl.models.encoders.config import TYPES, EncoderConfig
from jittor_ipl.models.encoders.encoder import InversionEncoder
from jittor_ipl.models.strict import named_tensors, numpy_tensors
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.containers.torch_writer import write_torch
from jittor_ipl.weights.encoder import load_encoder
from jittor_ipl.weights.families.inversion import schema
from jittor_ipl.weights.generator import load_generator
from tests.tiny_networks import drawn_encoder as drawn
from tests.tiny_networks import write_encoder

CLASSES = [(trunk, heads, name) for (trunk, heads), names in TYPES.items() for name in names]


def config(trunk: str, heads: str, name: str | None = None, **more) -> EncoderConfig:
    """Return the numbers of a small encoder of one class."""
    sizes = {"layers": 34 if trunk == "resnet34" else 18, "squeeze": trunk == "ir", "width": 2, "style_dim": 16,
             "input_size": 32, "n_styles": 1 if heads == "w" else 8}
    return EncoderConfig(trunk, heads, name, **sizes | more)


def faces(count: int = 2, channels: int = 3) -> jt.Var:
    return jt.array(np.random.default_rng(1).standard_normal((count, channels, 32, 32)).astype(np.float32))


@pytest.mark.parametrize("trunk, heads, name", CLASSES)
def test_names_and_shapes_are_those_of_the_family(trunk, heads, name):
    for numbers in (config(trunk, heads, name, input_channels=6), EncoderConfig(
            trunk, heads, name, layers=34 if trunk == "resnet34" else 50, squeeze=trunk == "ir",
            n_styles=1 if heads == "w" else 18)):
        shapes = {name: tuple(var.shape) for name, var in named_tensors(InversionEncoder(numbers)).items()}
        assert list(shapes.items()) == list(schema(numbers.to_json()).items())
        assert EncoderConfig(**numbers.to_json()) == numbers


@pytest.mark.parametrize("heads", ["pyramid", "flat"])
def test_progressive_codes_are_the_first_head_and_differences(heads):
    gradual, progressive = (drawn(config("ir", heads, name)) for name in TYPES["ir", heads])
    with jt.no_grad():
        plain, codes = gradual(faces()).numpy(), progressive(faces()).numpy()
    np.testing.assert_allclose(codes, np.concatenate([plain[:, :1], plain[:, :1] + plain[:, 1:]], 1), atol=1e-6)


@pytest.mark.parametrize("numbers, words", [
    (("ir", "deep"), "no encoder has a 'ir' trunk with 'deep' heads; there are ir with pyramid, "),
    (("ir", "flat", "Encoder4Editing"), "BackboneEncoder or ProgressiveBackboneEncoder, not 'Encoder4Editing'"),
    (("resnet34", "flat", None, 50), "no resnet34 trunk has 50 layers; there are 34"),
    (("ir", "flat", None, 50, True, 64, 3, 100), "an encoder of 100 px pictures; a power of two in 32..1024"),
    (("ir", "pyramid", None, 50, True, 16), "maps of 512 channels, as wide as a code; the trunk ends with 128"),
    (("ir", "flat", None, 50, True, 64, 4), r"input_channels 4 \(3 or 6\)")])
def test_numbers_that_make_no_encoder(numbers, words):
    with pytest.raises(UserError, match=words):
        EncoderConfig(*numbers)


def test_a_file_with_its_numbers_comes_back(tmp_path):
    encoder = drawn(config("ir", "flat", "ProgressiveBackboneEncoder", input_channels=6))
    encoder.latent_avg = np.random.default_rng(2).standard_normal((8, 16)).astype(np.float32)
    write_encoder(encoder, tmp_path / "encoder.safetensors")
    again = load_encoder(tmp_path / "encoder.safetensors")
    assert again.config == encoder.config
    np.testing.assert_array_equal(again.latent_avg, encoder.latent_avg)
    with jt.no_grad():
        np.testing.assert_array_equal(again(faces(channels=6)).numpy(), encoder(faces(channels=6)).numpy())
    with pytest.raises(UserError, match="holds a ProgressiveBackboneEncoder, not 'BackboneEncoder'"):
        load_encoder(tmp_path / "encoder.safetensors", "BackboneEncoder")
    encoder.latent_avg = None
    write_encoder(encoder, tmp_path / "absolute.safetensors")
    with pytest.raises(UserError, match="there is no latent_avg"):
        load_encoder(tmp_path / "absolute.safetensors")


def test_a_class_that_nothing_tells(tmp_path):
    encoder = drawn(config("ir", "flat"))
    mean = np.random.default_rng(2).standard_normal(16).astype(np.float32)
    write_safetensors(tmp_path / "bare.safetensors", numpy_tensors(encoder) | {"latent_avg": mean})
    with pytest.raises(UserError, match="BackboneEncoder and ProgressiveBackboneEncoder are alike.*name one of"):
        load_encoder(tmp_path / "bare.safetensors")
    for name in TYPES["ir", "flat"]:
        again = load_encoder(tmp_path / "bare.safetensors", name)
        assert again.config.encoder_type == name and again.config.input_size == 32
        np.testing.assert_array_equal(again.latent_avg, np.repeat(mean[None], 8, 0))
    with pytest.raises(UserError, match="not 'Encoder4Editing'"):
        load_encoder(tmp_path / "bare.safetensors", "Encoder4Editing")


@pytest.mark.parametrize("channels, stated, relative", [(3, True, True), (3, False, False), (3, None, True),
                                                        (6, False, True)])
def test_codes_are_absolute_only_where_the_options_say_so(tmp_path, channels, stated, relative):
    """pSp's option; ReStyle starts from the mean whatever it says."""
    encoder = drawn(config("ir", "flat", input_channels=channels))
    options = {"encoder_type": "BackboneEncoder"} | ({} if stated is None else {"start_from_latent_avg": stated})
    write_torch(tmp_path / "psp.pt", {"latent_avg": np.ones((8, 16), np.float32), "opts": options, "state_dict": {
        f"encoder.{name}": array for name, array in numpy_tensors(encoder).items()}})
    assert (load_encoder(tmp_path / "psp.pt").latent_avg is not None) == relative


def test_a_published_checkpoint():
    encoder = load_encoder(FIXTURES / "encoders" / "restyle.pt")
    assert encoder.config.encoder_type == "ProgressiveBackboneEncoder" and encoder.config.input_channels == 6
    assert encoder.latent_avg.shape == (encoder.config.n_styles, encoder.config.style_dim)
    with pytest.raises(UserError, match="latent_avg .* differs between layers"):    # so it is the decoder that is read
        load_generator(FIXTURES / "encoders" / "restyle.pt")

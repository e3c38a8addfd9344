"""Inversion encoders: every class of the three programs, its options, a checkpoint with encoder, decoder and mean."""
from __future__ import annotations

import numpy as np
import pytest
from network_names import FIXTURES, adopt, recognise, recorded, require_sound, require_strict

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.read import read_tensors
from jittor_ipl.weights.convert import convert
from jittor_ipl.weights.families import inversion as encoders
from jittor_ipl.weights.families.family import Hints
from jittor_ipl.weights.network import read_network

NETWORKS = recorded("encoders")


@pytest.mark.parametrize("network", NETWORKS)
def test_published_encoders(network: str) -> None:
    name = network.split()[-1]
    hints = Hints(values={"encoder_type": name})
    config = require_sound(NETWORKS[network], hints).config
    assert config["encoder_type"] == name and config["trunk"] == ("resnet34" if name.startswith("ResNet") else "ir")
    assert config["input_channels"] == (6 if " " not in network else 3)
    assert config["n_styles"] == (1 if name.endswith("IntoW") else 18) and config["style_dim"] == 512
    possible = [names for names in encoders.TYPES.values() if name in names][0]
    assert recognise(NETWORKS[network]).config["encoder_type"] == (name if len(possible) == 1 else None)


def test_misfits_are_named() -> None:
    require_strict(NETWORKS["ProgressiveBackboneEncoder"])
    require_strict(NETWORKS["ResNetGradualStyleEncoder"])


def test_options_that_contradict_the_tensors() -> None:
    with pytest.raises(UserError, match="'Encoder4Editing', its tensors are those of BackboneEncoder"):
        recognise(NETWORKS["BackboneEncoder"], Hints(values={"encoder_type": "Encoder4Editing"}))


@pytest.mark.parametrize("shape, problem",
                         [((18, 512), None), ((1, 512), None), ((512,), None), ((17, 512), "latent_avg"),
                          ((2, 2), "latent_avg")])
def test_mean_latent(shape: tuple[int, ...], problem: str | None) -> None:
    tensors = {name: np.broadcast_to(np.float32(0), shape_) for name, shape_ in NETWORKS["BackboneEncoder"].items()}
    beside = {"latent_avg": np.zeros(shape, np.float32)}
    hints = Hints(extras={"latent_avg": shape})
    if problem:
        with pytest.raises(UserError, match=problem):
            adopt(tensors, hints, source="file", extras=beside)
    else:
        assert adopt(tensors, hints, source="file", extras=beside)[0]["latent_avg"].shape == shape


def test_checkpoint_becomes_an_encoder_and_a_generator(tmp_path) -> None:
    path = FIXTURES / "encoders" / "restyle.pt"
    tensors, info = read_tensors(path)
    assert info.values["encoder_type"] == "ProgressiveBackboneEncoder" and info.values["input_nc"] == 6
    written = {done.layout.kind: done.path for done in convert(path, tmp_path)}
    assert set(written) == {"inversion-encoder", "stylegan2"}
    encoder = read_network(written["inversion-encoder"])
    assert encoder.layout.dialect == "ours" and encoder.layout.config["encoder_type"] == "ProgressiveBackboneEncoder"
    np.testing.assert_array_equal(encoder.tensors["latent_avg"], info.extras["latent_avg"])
    for name, array in encoder.tensors.items():
        if name != "latent_avg":
            np.testing.assert_array_equal(array, tensors["encoder." + name])
    generator = read_network(written["stylegan2"])
    np.testing.assert_array_equal(generator.tensors["convs.1.conv.weight"], tensors["decoder.convs.1.conv.weight"])


def test_other_networks_are_not_claimed() -> None:
    for shapes in ({"input_layer.0.weight": (64, 3, 3, 3), "output_layer.3.weight": (512, 25088)}, {"styles.0": (1,)},
                   {"linear.weight": (2, 2)}, {"conv1.weight": (64, 3, 7, 7), "bn1.weight": (64,)}):
        assert encoders.recognise(shapes, Hints()) is None

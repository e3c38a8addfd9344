"""LPIPS: heads, backbones and whole modules of three networks, and how two files become one distance."""
from __future__ import annotations

import numpy as np
import pytest
from network_names import FIXTURES, adopt, recorded, require_sound, require_strict

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.families.features import lpips

NETWORKS = recorded("lpips")
HEADS = FIXTURES / "lpips" / "vgg.pth"


@pytest.mark.parametrize("network", NETWORKS)
def test_published_networks(network: str) -> None:
    library, net = network.split()
    config = require_sound(NETWORKS[network]).config
    assert config == {"net": net, "part": "backbone" if library == "torchvision" else "whole"}
    tensors, _ = adopt({n: np.broadcast_to(np.float32(0), s) for n, s in NETWORKS[network].items()}, source="file")
    assert {name: array.shape for name, array in tensors.items()} == lpips.backbone(net) | (
        {} if library == "torchvision" else lpips.heads(net))


@pytest.mark.parametrize("net", lpips.TAPS)
def test_heads(net: str) -> None:
    assert require_sound(lpips.heads(net)).config == {"net": net, "part": "heads"}
    without_dropout, _ = adopt({n: np.zeros(s, np.float32) for n, s in lpips.heads(net, 0).items()}, source="file")
    assert list(without_dropout) == list(lpips.heads(net))


def test_misfits_are_named() -> None:
    require_strict(NETWORKS["lpips squeeze"])
    require_strict(NETWORKS["torchvision alex"])


def backbone(path, net: str):
    rng = np.random.default_rng(0)
    write_safetensors(path, {name: rng.standard_normal(shape).astype(np.float16)
                             for name, shape in lpips.backbone(net).items()})
    return path


def test_two_files_make_one_distance(tmp_path) -> None:
    from jittor_ipl.weights.features import load_lpips
    model = load_lpips([HEADS, backbone(tmp_path / "vgg16.safetensors", "vgg")], net="vgg")
    assert model.net == "vgg" and float(model.channel_weights()[0].numpy().max()) > 0
    with pytest.raises(UserError, match="holds the heads of LPIPS; .*vgg16-397923af.pth"):
        load_lpips(HEADS)
    with pytest.raises(UserError, match="learned heads are missing .vgg.pth"):
        load_lpips(tmp_path / "vgg16.safetensors")
    with pytest.raises(UserError, match="do not belong to one LPIPS on alex"):
        load_lpips([HEADS, tmp_path / "vgg16.safetensors"], net="alex")
    with pytest.raises(UserError, match="no network 'vgg19'"):
        load_lpips(HEADS, net="vgg19")

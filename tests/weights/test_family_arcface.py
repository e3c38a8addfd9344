"""Networks that know faces, MoCo's ResNet beside them, and the loader of the one that measures identity."""
from __future__ import annotations

import numpy as np
import pytest
from network_names import FIXTURES, adopt, recognise, recorded, require_sound, require_strict

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.read import read_tensors
from jittor_ipl.weights.convert import convert

NETWORKS = recorded("arcface")


def test_published_networks_are_told_apart() -> None:
    se50, ir101 = require_sound(NETWORKS["ir_se50"]), require_sound(NETWORKS["ir_101"])
    assert (se50.kind, se50.config["layers"], se50.config["affine"]) == ("ir-se50", 50, True)
    assert (ir101.kind, ir101.config["layers"], ir101.config["affine"]) == ("ir-face", 100, False)
    assert require_sound(NETWORKS["moco"]).kind == "moco-resnet50"


def test_moco_checkpoint_keeps_the_query_encoder() -> None:
    encoder = {name: np.broadcast_to(np.float32(0), shape) for name, shape in NETWORKS["moco"].items()}
    key = {name.replace("encoder_q", "encoder_k"): array for name, array in encoder.items()}
    queue = {"module.queue": np.zeros((128, 4), np.float32), "module.queue_ptr": np.zeros(1, np.int64)}
    tensors, layout = adopt({**encoder, **key, **queue}, source="moco.pt")
    assert layout.kind == "moco-resnet50" and "conv1.weight" in tensors and len(tensors) == 265


def test_misfits_are_named() -> None:
    require_strict(NETWORKS["ir_se50"])
    require_strict(NETWORKS["moco"])


def test_loader(tmp_path) -> None:
    from jittor_ipl.models.strict import numpy_tensors
    from jittor_ipl.weights.features import load_arcface
    path = FIXTURES / "arcface" / "ir_se50.pth"
    tensors, info = read_tensors(path)
    assert info.format == "torch-legacy" and recognise({n: a.shape for n, a in tensors.items()}).config["width"] == 1
    (written,) = convert(path, tmp_path)
    for source in (path, written.path):
        for name, array in numpy_tensors(load_arcface(source)).items():
            np.testing.assert_array_equal(array, tensors[name])
    with pytest.raises(UserError, match="'lpips' network, a 'ir-se50' network is expected"):
        load_arcface(FIXTURES / "lpips" / "vgg.pth")

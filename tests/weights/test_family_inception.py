"""Inception v3: FID's and torchvision's are told apart, and only the first loads."""
from __future__ import annotations

import numpy as np
import pytest
from network_names import adopt, recognise, recorded, require_sound, require_strict

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.safetensors import write_safetensors

NETWORKS = recorded("inception")


def test_published_networks_are_told_apart() -> None:
    fid, torchvision = require_sound(NETWORKS["pytorch-fid"]), require_sound(NETWORKS["torchvision"])
    assert (fid.dialect, fid.config["classes"]) == ("fid", 1008)
    assert (torchvision.dialect, torchvision.config["classes"]) == ("torchvision", 1000)


def test_the_counters_may_be_absent() -> None:
    bare = {name: shape for name, shape in NETWORKS["pytorch-fid"].items() if not name.endswith("num_batches_tracked")}
    require_sound(bare)


def test_misfits_are_named() -> None:
    require_strict(NETWORKS["pytorch-fid"])
    with pytest.raises(UserError, match=r"'fc.weight' has shape \[10, 2048\], expected is \[1008, 2048\]"):
        adopt({name: np.broadcast_to(np.float32(0), (10, 2048) if name == "fc.weight" else shape)
               for name, shape in NETWORKS["pytorch-fid"].items()}, source="file")


def test_the_auxiliary_head_is_left_out() -> None:
    tensors, _ = adopt({n: np.broadcast_to(np.float32(0), s) for n, s in NETWORKS["torchvision"].items()},
                       source="file")
    assert not any(name.startswith("AuxLogits") for name in tensors)
    assert recognise({name: array.shape for name, array in tensors.items()}).dialect == "torchvision"


def test_torchvisions_network_is_refused_for_fid(tmp_path) -> None:
    from jittor_ipl.weights.features import load_inception
    path = tmp_path / "inception_v3_google.safetensors"
    write_safetensors(path, {name: np.zeros(shape, np.float16) for name, shape in NETWORKS["torchvision"].items()})
    with pytest.raises(UserError, match="torchvision's Inception.*1,008 classes"):
        load_inception(path)


def test_fids_network_loads(tmp_path) -> None:
    from jittor_ipl.models.strict import named_tensors
    from jittor_ipl.weights.features import load_inception
    path = tmp_path / "fid.safetensors"
    write_safetensors(path, {name: np.full(shape, 0.5, np.float16) for name, shape in NETWORKS["pytorch-fid"].items()})
    assert all(var.numpy().max() == 0.5 for var in named_tensors(load_inception(path)).values())

"""StyleCLIP's latent mappers: the published variants, and a checkpoint with mapper and generator."""
from __future__ import annotations

import numpy as np
import pytest
from network_names import FIXTURES, recognise, recorded, require_sound, require_strict

from jittor_ipl.weights.containers.read import read_tensors
from jittor_ipl.weights.convert import convert
from jittor_ipl.weights.families.family import Hints
from jittor_ipl.weights.families.stylegan2 import styleclip
from jittor_ipl.weights.network import read_network

NETWORKS = recorded("styleclip")


@pytest.mark.parametrize("network", NETWORKS)
def test_published_mappers(network: str) -> None:
    config = require_sound(NETWORKS[network]).config
    assert config["mapper_type"] == network.split()[0]
    if network.startswith("Levels"):
        assert config["levels"] == (["course", "fine"] if "without" in network else ["course", "medium", "fine"])


def test_misfits_are_named() -> None:
    require_strict(NETWORKS["LevelsMapper"])
    require_strict(NETWORKS["WithoutToRGBStyleSpaceMapper"])


def test_the_prompt_mapper_is_another_network() -> None:
    bare = {f"mapping.mapping.{i}.{part}": shape for i in range(1, 5) for part,
            shape in (("weight", (512, 512)), ("bias", (512,)))}
    assert styleclip.recognise(bare, Hints()) is None and recognise(bare).kind == "prompt-mapper"


def test_checkpoint_becomes_a_mapper_and_a_generator(tmp_path) -> None:
    path = FIXTURES / "styleclip" / "mapper.pt"
    tensors = read_tensors(path)[0]
    written = {done.layout.kind: done.path for done in convert(path, tmp_path)}
    assert set(written) == {"styleclip-mapper", "stylegan2"}
    mapper = read_network(written["styleclip-mapper"])
    assert mapper.layout.dialect == "ours" and mapper.layout.config == {
        "mapper_type": "LevelsMapper", "levels": ["course", "fine"], "style_dim": 8}
    for name, array in mapper.tensors.items():
        np.testing.assert_array_equal(array, tensors["mapper." + name])

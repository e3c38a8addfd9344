"""Prompt mappers from files: IPL's own, and the thesis's transformer mappers by name."""
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from network_names import adopt

from jittor_ipl.errors import UserError
from jittor_ipl.models.mappers import PromptMapper
from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.families.family import Hints
from jittor_ipl.weights.families.registry import identify
from jittor_ipl.weights.network import read_network

FIXTURES = Path(__file__).parents[1] / "fixtures" / "prompt_mapper"


def official_shapes(width: int, out: int) -> dict[str, tuple[int, ...]]:
    names = {}
    for i, rows in ((1, width), (2, width), (3, width), (4, out)):
        names |= {f"mapping.mapping.{i}.weight": (rows, width), f"mapping.mapping.{i}.bias": (rows,)}
    return names


def transformer_shapes(layers: int, hidden: int, d: int = 8, ff: int = 16, out: int = 32) -> dict[str, tuple[int, ...]]:
    layer = {"self_attn.in_proj_weight": (3 * d, d), "self_attn.in_proj_bias": (3 * d,),
             "self_attn.out_proj.weight": (d, d),
             "self_attn.out_proj.bias": (d,), "linear1.weight": (ff, d), "linear1.bias": (ff,),
             "linear2.weight": (d, ff),
             "linear2.bias": (d,), "norm1.weight": (d,), "norm1.bias": (d,), "norm2.weight": (d,), "norm2.bias": (d,)}
    parts = {f"layers.{i}.{name}": shape for i in range(layers) for name, shape in layer.items()}
    tails = [("linear", (hidden, d))] * bool(hidden) + [("final_linear", (out, hidden or d))]
    names = {f"{place}.{name}": shape for place in ("transformer_encoder", "mapping.0")
             for name, shape in parts.items()}
    for position, (tail, shape) in enumerate(tails, 1):
        for place in (tail, f"mapping.{position}"):
            names |= {f"{place}.weight": shape, f"{place}.bias": shape[:1]}
    return names


def test_ipl_mapper_gives_the_same_prompts() -> None:
    network = read_network(FIXTURES / "ipl.pt", kind="prompt-mapper")
    assert network.layout.dialect == "ipl" and network.info.container == "m" and network.info.skipped == ("m_optim",)
    mapper = PromptMapper(**network.layout.config)
    load_into(mapper, network.tensors, source="ipl.pt")
    assert list(named_tensors(mapper)) == list(network.tensors)
    with np.load(FIXTURES / "ipl_prompts.npz") as record:
        made, theirs = mapper(jt.array(record["w"])).numpy(), record["prompts"]
    assert np.abs(made - theirs).max() <= 1e-6 * np.abs(theirs).max()


def test_transformer_mapper_by_name() -> None:
    network = read_network(FIXTURES / "transformer.pt", kind="prompt-mapper")
    assert network.layout.dialect == "thesis-transformer"
    assert network.layout.config == {"architecture": "transformer", "style_dim": 8, "n_ctx": 4, "ctx_dim": 8,
                                     "layers": 2,
                                     "feedforward": 16, "hidden": 8, "pixel_norm": False, "heads": 2}
    assert not any(name.startswith("mapping.") for name in network.tensors) and len(network.tensors) == 28


@pytest.mark.parametrize("out, config, divided", [
    (2048, {}, (4, 512)), (2560, {}, (4, 640)), (3072, {}, (4, 768)), (4096, {}, (4, 1024)), (512, {}, (1, 512)),
    (1536, {}, (3, 512)), (32, {}, (4, 8)), (30, {}, (1, 30)), (3072, {"n_ctx": 6, "ctx_dim": 512}, (6, 512))])
def test_division_into_tokens(out: int, config: dict, divided: tuple[int, int]) -> None:
    layout = identify(official_shapes(8, out), Hints(config=config)).layout
    assert (layout.config["n_ctx"], layout.config["ctx_dim"]) == divided and layout.config["style_dim"] == 8


def test_a_division_that_does_not_fit() -> None:
    with pytest.raises(UserError, match="4 tokens of width 512, its last layer has 32 outputs"):
        identify(official_shapes(8, 32), Hints(config={"n_ctx": 4, "ctx_dim": 512}))


@pytest.mark.parametrize("layers, hidden, heads", [(3, 0, 2), (2, 16, 4), (2, 8, 2)])
def test_versions_of_the_transformer_mapper(layers: int, hidden: int, heads: int) -> None:
    shapes = transformer_shapes(layers, hidden)
    layout = identify(shapes).layout
    assert layout.expected == shapes
    assert (layout.config["layers"], layout.config["hidden"], layout.config["heads"]) == (layers, hidden, heads)


@pytest.mark.parametrize("name, message", [("mapping.mapping.2.bias", "'mapping.mapping.2.bias' is missing"),
                                           ("mapping.mapping.4.weight", "'mapping.mapping.4.weight' is missing")])
def test_damage_is_named(name: str, message: str) -> None:
    tensors = {key: np.zeros(shape, "f4") for key, shape in official_shapes(8, 32).items() if key != name}
    with pytest.raises(UserError, match=message):
        adopt(tensors, source="mapper.pt")


def test_two_names_of_one_tensor_must_agree() -> None:
    tensors = {key: np.zeros(shape, "f4") for key, shape in transformer_shapes(2, 8).items()}
    tensors["mapping.2.bias"] = np.ones(32, "f4")
    with pytest.raises(UserError, match="'final_linear.bias' and 'mapping.2.bias' are two names of one"):
        adopt(tensors, source="mapper.pt")


def test_exports_have_the_names_of_the_originals() -> None:
    from jittor_ipl.weights.containers.read import read_tensors
    from jittor_ipl.weights.families.prompt_mapper import FAMILY
    for name in ("ipl", "transformer"):
        stored, _ = read_tensors(FIXTURES / f"{name}.pt", place="m")
        network = read_network(FIXTURES / f"{name}.pt", kind="prompt-mapper")
        again = FAMILY.exports["ipl"](network.tensors, network.layout.config)
        assert set(again) == set(stored) and all(np.array_equal(again[key], stored[key]) for key in again)
    with pytest.raises(UserError, match="neither IPL nor the thesis"):
        FAMILY.exports["ipl"]({}, {"architecture": "levels"})


def test_our_files_say_what_shapes_cannot() -> None:
    from jittor_ipl.models.mappers import TransformerMapper, TransformerMapperConfig
    mapper = TransformerMapper(TransformerMapperConfig(12, 5, 6, layers=1, heads=3, feedforward=10, pixel_norm=True))
    shapes = {name: tuple(var.shape) for name, var in named_tensors(mapper).items()}
    layout = identify(shapes, Hints(metadata={"config": json.dumps(mapper.config())})).layout
    assert layout.config == mapper.config() and layout.expected == shapes
    hostile = identify(shapes, Hints(metadata={"config": json.dumps({"heads": 7, "n_ctx": "x"})})).layout
    assert hostile.config["heads"] == 2 and hostile.config["n_ctx"] * hostile.config["ctx_dim"] == 30
    with pytest.raises(UserError, match="-5 tokens of width -6"):
        identify(shapes, Hints(metadata={"config": json.dumps({"n_ctx": -5, "ctx_dim": -6})}))


def test_levels_by_name() -> None:
    from jittor_ipl.models.mappers import make_mapper
    shapes = {name: tuple(var.shape) for name, var in named_tensors(make_mapper("levels", 8, 4, 6)).items()}
    layout = identify(shapes, Hints(metadata={"config": json.dumps({"n_ctx": 4, "ctx_dim": 6})})).layout
    assert layout.dialect == "levels" and layout.expected == shapes and layout.config["n_ctx"] == 4
    del shapes["fine.mapping.mapping.2.bias"]
    with pytest.raises(UserError, match="'fine.mapping.mapping.2.bias' is missing"):
        adopt({name: np.zeros(shape, "f4") for name, shape in shapes.items()}, source="mapper.safetensors")

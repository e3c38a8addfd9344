"""NVIDIA's pickles: state comes out in every protocol, module texts never run, other architectures are refused."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nvidia_pickles import SOURCE_TEXT, Call, Made, Name, dumps, module, persistent, stream, tf_network

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.limits import UnsafeWeightsError
from jittor_ipl.weights.containers.read import read_tensors
from jittor_ipl.weights.generator import load_generator
from jittor_ipl.weights.network import read_network

FIXTURES = Path(__file__).parents[1] / "fixtures" / "stylegan2"
RECONSTRUCT = Name("torch_utils.persistence", "_reconstruct_persistent_obj")
LOAD = Name("torch.storage", "_load_from_bytes")


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    """The tensors of the real pickle under NVIDIA's names."""
    tensors, info = read_tensors(FIXTURES / "nvidia_ada.pkl")
    assert info.container == "G_ema" and info.format == "pickle"
    return {name: np.asarray(array) for name, array in tensors.items()}


def written(tmp_path: Path, root: Any, protocol: int = 4) -> Path:
    path = tmp_path / "network.pkl"
    path.write_bytes(dumps(root, protocol))
    return path


# ---- honest files ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_state_in_every_protocol(tmp_path: Path, state: dict, protocol: int) -> None:
    path = written(tmp_path, {"G": module({"a": np.zeros(1, "f4")}), "G_ema": module(state), "training_set_kwargs": {}},
                   protocol)
    tensors, info = read_tensors(path)
    assert info.container == "G_ema" and "G" in info.skipped
    assert all(np.array_equal(tensors[name], value) for name, value in state.items()) and set(tensors) == set(state)


def test_plain_values_come_along() -> None:
    values = read_tensors(FIXTURES / "nvidia_ada.pkl")[1].values
    assert values["class_name"] == "Generator" and values["c_dim"] == 0 and values[
        "synthesis.b8.architecture"] == "skip"
    assert values["synthesis.b16.conv0.conv_clamp"] == 1.5 and values["mapping.fc0.bias_gain"] == 0.01
    values = read_tensors(FIXTURES / "nvidia_tf.pkl")[1].values
    assert values["synthesis/conv_clamp"] == 1.5 and values["mapping/label_size"] == 0


def test_the_text_of_a_module_is_not_even_kept(tmp_path: Path, state: dict) -> None:
    for name in ("nvidia_ada.pkl", "nvidia_tf.pkl"):
        assert SOURCE_TEXT.encode() in (FIXTURES / name).read_bytes()
        assert not any("SystemExit" in str(value) for value in read_tensors(FIXTURES / name)[1].values.values())


def test_another_learning_rate_factor_and_no_clamp(tmp_path: Path, state: dict) -> None:
    net = module({name: value for name, value in state.items() if not name.startswith("mapping.fc")}, c_dim=0)
    mapping = next(child for name, child in net.arguments[0]["state"]["_modules"].items() if name == "mapping")
    for i in range(3):
        layer = {part: state[f"mapping.fc{i}.{part}"] for part in ("weight", "bias")}
        mapping.arguments[0]["state"]["_modules"][f"fc{i}"] = persistent("FullyConnectedLayer", layer, {},
                                                                         bias_gain=1.0, activation="lrelu")
    config = read_network(written(tmp_path, {"G_ema": net})).layout.config
    assert config["lr_mlp"] == 1.0 and "conv_clamp" not in config


def test_a_network_without_noise(tmp_path: Path, state: dict) -> None:
    silent = {name: value for name, value in state.items() if "noise" not in name}
    tensors = read_network(written(tmp_path, {"G_ema": module(silent)})).tensors
    assert tensors["convs.3.noise.weight"] == 0 and tensors["noises.noise_4"].shape == (1, 1, 16, 16)


def test_other_resample_filters_are_kept(tmp_path: Path, state: dict) -> None:
    other = {name: value + 0.01 if name == "synthesis.b8.conv0.resample_filter" else value
             for name, value in state.items()}
    tensors = read_network(written(tmp_path, {"G_ema": module(other)})).tensors
    assert np.allclose(tensors["convs.0.conv.blur.kernel"], 4 * other["synthesis.b8.conv0.resample_filter"])


# ---- networks that our generator cannot be ---------------------------------------------------------------------------

@pytest.mark.parametrize("changes, facts, message", [
    ({}, {"c_dim": 10}, "class-conditional generator of 10 classes; only unconditional"),
    ({"mapping.embed.weight": np.zeros((16, 10), "f4")}, {}, "class-conditional generator"),
    ({"synthesis.b4.torgb.weight": np.zeros((1, 12, 1, 1), "f4")}, {}, r"expected is \[3, 12, 1, 1\]"),
    ({"mapping.fc0.weight": np.zeros((16, 64), "f4")}, {}, "widths 64, 16 and 16; they must be equal"),
    ({"synthesis.b8.conv1.weight": None}, {}, "'synthesis.b8.conv1.weight' is missing"),
    ({"synthesis.b8.conv2.weight": np.zeros(3, "f4")}, {}, "unexpected tensor 'synthesis.b8.conv2.weight'")])
def test_refused(tmp_path: Path, state: dict, changes: dict, facts: dict, message: str) -> None:
    tensors = {name: value for name, value in {**state, **changes}.items() if value is not None}
    with pytest.raises(UserError, match=message):
        load_generator(written(tmp_path, {"G_ema": module(tensors, **facts)}))


def test_other_architectures(tmp_path: Path, state: dict) -> None:
    net = module(state)
    block = net.arguments[0]["state"]["_modules"]["synthesis"].arguments[0]["state"]["_modules"]["b8"]
    block.arguments[0]["state"]["architecture"] = "resnet"
    with pytest.raises(UserError, match="architecture 'resnet' network; only the skip .*; use a StyleGAN2 network"):
        load_generator(written(tmp_path, {"G_ema": net}))


@pytest.mark.parametrize("class_name, w_avg, title", [("Generator", (16,), r"StyleGAN3 \(alias-free\)"),
                                                      ("SuperresGenerator", (16,), "StyleGAN-XL"),
                                                      ("Generator", (10, 16), "StyleGAN-XL")])
def test_alias_free_generators(tmp_path: Path, class_name: str, w_avg: tuple, title: str) -> None:
    names = {"synthesis.input.freqs": (8, 2), "synthesis.input.weight": (8, 8),
             "synthesis.L0_36_512.weight": (8, 8, 3, 3),
             "synthesis.L0_36_512.magnitude_ema": (1,), "mapping.fc0.weight": (16, 16), "mapping.w_avg": w_avg}
    net = module({name: np.zeros(shape, "f4") for name, shape in names.items()}, class_name=class_name)
    discriminator = Made(Name("pg_modules.discriminator", "ProjectedDiscriminator"), {"_modules": {}})
    with pytest.raises(UserError, match=f"{title} generator, which cannot be adapted here; use a StyleGAN2 network"):
        load_generator(written(tmp_path, {"D": discriminator, "G_ema": net}))


@pytest.mark.parametrize("change, kwargs, message", [
    ({}, {"label_size": 5}, "of 5 classes"), ({}, {"architecture": "resnet"}, "'resnet'"),
    ({}, {"nonlinearity": "relu"}, "activation 'relu'"),
    ({}, {"resample_kernel": [1, 2, 1]}, "resample kernel"), ({}, {"resample_kernel": None}, "resample kernel"),
    ({"ToRGB_lod0/weight": np.zeros((1, 1, 8, 3), "f4")}, {}, r"progressively grown network \(configs A to D\)"),
    ({"8x8/Conv9/weight": np.zeros(3, "f4")}, {}, "unexpected tensor 'synthesis/8x8/Conv9/weight'")])
def test_tensorflow_networks_refused(tmp_path: Path, change: dict, kwargs: dict, message: str) -> None:
    tensors = {name: np.asarray(array) for name, array in read_tensors(FIXTURES / "nvidia_tf.pkl")[0].items()}
    parts = {part: {name.split("/", 1)[1]: array for name, array in tensors.items() if name.startswith(part)}
             for part in ("synthesis/", "mapping/")}
    nets = {"synthesis": tf_network({**parts["synthesis/"], **change}, **kwargs),
            "mapping": tf_network(parts["mapping/"], **kwargs)}
    path = written(tmp_path, {"Gs": tf_network({"dlatent_avg": tensors["dlatent_avg"], "lod": np.float32(0)}, nets)}, 2)
    with pytest.raises(UserError, match=message):
        load_generator(path)


# ---- hostile files ---------------------------------------------------------------------------------------------------

def _itself() -> Call:
    net = persistent("Module", {}, {})
    children = net.arguments[0]["state"]["_modules"]
    shared = {f"c{i}": persistent("Module", {}, children) for i in range(8)}
    children |= shared
    return net


def _deep() -> Call:
    net = persistent("Module", {"a": np.zeros(1, "f4")}, {})
    for _ in range(50):
        net = persistent("Module", {}, {"c": net})
    return net


def _doubling() -> Call:
    net = persistent("Module", {"a": np.zeros(1, "f4")}, {})
    for _ in range(30):
        net = persistent("Module", {}, {"left": net, "right": net})
    return net


META = {"type": "class", "version": 6, "module_src": SOURCE_TEXT, "class_name": "Generator", "state": {}}
HOSTILE = {
    "no dictionary": Call(RECONSTRUCT, ("import os",)), "no arguments": Call(RECONSTRUCT, ()),
    "no state": Call(RECONSTRUCT, ({**META, "state": 3},)),
    "no class name": Call(RECONSTRUCT, ({**META, "class_name": Name("torch", "float32")},)),
    "another type": Call(RECONSTRUCT, ({**META, "type": "function"},)),
    "modules of no names": Call(RECONSTRUCT, ({**META, "state": {"_modules": {1: 2}}},)),
    "modules as a list": Call(RECONSTRUCT, ({**META, "state": {"_modules": [1]}},)),
    "a name of a kilobyte": Call(RECONSTRUCT, ({**META, "state": {"_buffers": {"x" * 1000: 1}}},)),
    "itself": _itself(), "deep": _deep(), "doubling": _doubling(),
    "stream of text": Call(LOAD, ("x",)), "stream of a zip archive": Call(LOAD, (b"PK\x03\x04" + bytes(60),)),
    "stream cut short": Call(LOAD, (stream(np.zeros(9, "f4"))[:-1],)),
    "stream and more": Call(LOAD, (stream(np.zeros(9, "f4")) + b"x",)), "no stream": Call(LOAD, ()),
    "variables of no pairs": tf_network({}), "network called": Call(Name("dnnlib.tflib.network", "Network"), ("G",)),
    "network without variables": Made(Name("dnnlib.tflib.network", "Network"), {"name": "G"}),
    "its import function": Call(Name("dnnlib.util", "get_obj_by_name"), ("os.system",)),
    "another part of it": Call(Name("torch_utils.persistence", "import_hook"), ("x",)),
}
HOSTILE["variables of no pairs"].state["variables"] = [1, 2]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError):
        load_generator(written(tmp_path, {"G_ema": HOSTILE[name]}))
    if name not in ("its import function", "another part of it"):
        return
    with pytest.raises(UnsafeWeightsError, match="get_obj_by_name|import_hook"):
        load_generator(tmp_path / "network.pkl")


def test_two_tensors_of_one_name(tmp_path: Path) -> None:
    net = module({"a": np.zeros(1, "f4")})
    net.arguments[0]["state"]["_parameters"] = dict(net.arguments[0]["state"]["_buffers"])
    with pytest.raises(UnsafeWeightsError, match="two tensors of the name a"):
        read_tensors(written(tmp_path, {"G_ema": net}))

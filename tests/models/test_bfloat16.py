"""Networks that multiply in bfloat16: which layers, how far from float32, and nothing of it when it is off."""
from __future__ import annotations

import json

import numpy as np
import pytest

from jittor_ipl.config import choose_lora_runs, choose_runs, load_lora_suite, load_suite
from jittor_ipl.models.bfloat16 import bfloat16_products, layers_for_bfloat16
from jittor_ipl.models.layers import freeze
from jittor_ipl.models.stylegan2.layers import ModulatedConv2d
from jittor_ipl.ops.resize import resize
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.clip import load_clip
from jittor_ipl.weights.diffusion import load_diffusion
from jittor_ipl.weights.generator import load_generator


def draw(seed: int, *shape: int) -> jt.Var:
    return jt.array(np.random.RandomState(seed).randn(*shape).astype(np.float32))


def generator():
    network = load_generator("demo:generator")
    w = network.mapping(draw(0, 2, network.style_dim)).detach()
    return network, w, network.synthesis


def clip():
    network = load_clip("demo:clip-local")
    freeze(network)
    picture = resize(draw(0, 2, 3, 16, 16) * 0.5, network.config()["image_resolution"]).detach()
    return network, picture, network.encode_image


def unet():
    network = load_diffusion("demo:diffusion").unet
    freeze(network)
    context = draw(1, 2, 7, network.config.cross_attention_dim[0])
    times = jt.array(np.float32([900, 30]))
    return network, draw(2, 2, network.config.in_channels, 8, 8), lambda x: network(x, times, context)


def value_and_gradient(run, x: jt.Var) -> tuple[np.ndarray, np.ndarray]:
    x = x.clone().start_grad()
    y = run(x)
    return y.numpy(), jt.grad((y * draw(9, *y.shape)).sum(), x).numpy()


def distance(got: np.ndarray, want: np.ndarray) -> float:
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


# Network, and the largest distance of its result and of the gradient of its input, relative to their length.
# Where a ReLU changes its side the gradient jumps: the CLIP is a ResNet.
BOUNDS = {"generator": (generator, 0.005, 0.06), "clip": (clip, 0.005, 0.2), "unet": (unet, 0.01, 0.01)}


@pytest.mark.parametrize("name", BOUNDS)
def test_the_error_of_a_network(name):
    build, value_bound, gradient_bound = BOUNDS[name]
    network, x, run = build()
    wanted = value_and_gradient(run, x)
    with bfloat16_products(network):
        found = value_and_gradient(run, x)
    value, gradient = (distance(got, want) for got, want in zip(found, wanted))
    print(f"{name}: value {value:.1e}, gradient {gradient:.1e}, {len(layers_for_bfloat16(network))} layers")
    assert 1e-5 < value < value_bound and 1e-5 < gradient < gradient_bound
    again = value_and_gradient(run, x)
    assert all(np.array_equal(got, want) for got, want in zip(again, wanted)), "it is off outside"


def test_the_chosen_layers():
    network = generator()[0]
    layers = layers_for_bfloat16(network)
    assert len(layers) == 12 and all(isinstance(layer, ModulatedConv2d) for layer in layers)
    assert network.conv1.conv not in layers and network.to_rgb1.conv not in layers
    network = unet()[0]
    layers = set(map(id, layers_for_bfloat16(network)))
    assert id(network.conv_in) not in layers and id(network.conv_out) not in layers
    assert id(network.mid_block.resnets[0].conv1) in layers


def test_the_layers_are_float32_again_after_an_error():
    network = generator()[0]
    with pytest.raises(RuntimeError, match="stop"), bfloat16_products(network):
        assert all(layer._bfloat16 for layer in layers_for_bfloat16(network))
        raise RuntimeError("stop")
    assert not any(layer._bfloat16 for layer in layers_for_bfloat16(network))


@pytest.mark.parametrize("part", ["generator", "lora"])
def test_the_setting_decides_a_run_only_where_it_is_on(part, monkeypatch):
    """Runs that finished before there was such a setting stay finished."""
    def run(*changes):
        if part == "generator":
            return choose_runs(load_suite("demo", changes), ["disney"])[0]
        return choose_lora_runs(load_lora_suite("demo_lora", changes), ["ukiyo-e"])[0]

    plain, named = run(), run("bfloat16=[generator, clip]" if part == "generator" else "lora.bfloat16=true")
    assert plain.training_hash() != named.training_hash()
    hashed = []
    monkeypatch.setattr(json, "dumps", lambda settings, **_: hashed.append(settings) or "")
    plain.training_hash(), named.training_hash()
    off, on = hashed if part == "generator" else (settings[part] for settings in hashed)
    assert "bfloat16" not in off and "bfloat16" in on

"""Parity with the official PyTorch generator and prompt mapper: forward, S codes and every gradient."""
from __future__ import annotations

import json

import generator64
import golden
import pytest

from jittor_ipl.models.strict import named_tensors
from jittor_ipl.runtime.backend import jt

FORWARD, GRADIENT = 1e-4, 1e-5      # the most, whatever PyTorch's own distance


@pytest.fixture(scope="module")
def record():
    return golden.Reference("stylegan2")


@pytest.fixture(scope="module")
def generator():
    return golden.generator()


def test_keys_and_order(generator):
    about = json.loads((golden.GOLDEN / "stylegan2.json").read_text())
    assert {name: list(var.shape) for name, var in named_tensors(generator).items()} == about["keys"]


def test_the_records_are_what_numpy_computes_in_float64(generator, record):
    tensors = {name: var.numpy() for name, var in named_tensors(generator).items()}
    assert golden.error(generator64.mapping(tensors, record["z"]), record.exact["w"]) < 1e-8
    assert golden.error(generator64.pre_activations(tensors, record.exact["wp"])[1], record.exact["image_wp"]) < 1e-8


def test_forward(generator, record):
    g = generator
    z, z2, mean = (jt.array(record[name]) for name in ("z", "z2", "mean_latent"))
    w = g.mapping(z)
    record.check("w", w, FORWARD)
    record.check("image_z", g.synthesis(w), FORWARD)
    record.check("image_trunc07", g.synthesis(g.truncate(w, .7, mean)), FORWARD)
    record.check("image_mix3", g.synthesis(g.mix(w, g.mapping(z2), 3)), FORWARD)
    record.check("image_wp", g.synthesis(jt.array(record["wp"])), FORWARD)


def test_s_codes(generator, record):
    codes = generator.styles(jt.array(record["w"]))
    for i, s in enumerate(codes):
        record.check(f"s_code/{i}", s, FORWARD)
    recorded = [jt.array(record[f"s_code/{i}"]) for i in range(len(codes))]
    record.check("image_s", generator.synthesis_from_styles(recorded), FORWARD)


def test_gradients(generator, record, monkeypatch):
    golden.decide_kinks(monkeypatch, generator, record.exact["wp"])
    wp = jt.array(record["wp"])
    loss = (generator.synthesis(wp) * jt.array(record["cotangent"])).sum()
    parameters = {n: v for n, v in generator.trainable().items() if not n.startswith(("style.", "noises."))}
    assert set(parameters) == {n[5:] for n in record if n.startswith("grad/")}
    wp_grad, *grads = jt.grad(loss, [wp, *parameters.values()])
    record.check("grad_wp", wp_grad, GRADIENT)
    with pytest.raises(AssertionError, match="from float64"):      # the bound is one that a small mistake exceeds
        record.check("grad_wp", wp_grad * (1 + 2e-5), GRADIENT)
    golden.check_gradients(record, {name: grad.numpy() for name, grad in zip(parameters, grads)}, GRADIENT)


def test_prompt_mapper(generator):
    record = golden.Reference("stage1")
    record.check("prompts", golden.mapper()(generator.mapping(jt.array(record["z"][0]))), FORWARD)

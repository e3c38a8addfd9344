"""Parity with the official PyTorch generator and prompt mapper: forward, S codes and every gradient."""
from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.models.prompt_mapper import PromptMapper
from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt

GOLDEN = Path(__file__).parents[1] / "golden"
FORWARD, GRADIENT = 1e-4, 1e-3

_spec = importlib.util.spec_from_file_location("golden_fill", GOLDEN / "fill.py")
fill = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fill)


@pytest.fixture(scope="module")
def record():
    with np.load(GOLDEN / "stylegan2.npz") as data:
        return {name: data[name] for name in data.files}


@pytest.fixture(scope="module")
def generator():
    about = json.loads((GOLDEN / "stylegan2.json").read_text())
    g = Generator(**{k: about[k] for k in ("size", "style_dim", "n_mlp", "channel_multiplier")})
    own = named_tensors(g)
    tensors = {name: own[name].numpy() if name.endswith(".kernel") else
               fill.generator(name, shape, about["seed"]) for name, shape in about["keys"].items()}
    load_into(g, tensors, source="golden record")
    return g


def error(ours, reference) -> float:
    """Largest difference over the reference's largest magnitude."""
    ours = ours.numpy() if isinstance(ours, jt.Var) else ours
    assert ours.shape == reference.shape, (ours.shape, reference.shape)
    return float(np.abs(ours - reference).max() / np.abs(reference).max())


def report(name: str, value: float, limit: float) -> None:
    print(f"{name}: relative error {value:.1e} (limit {limit:.0e})")
    assert value <= limit, f"{name}: relative error {value:.2e} > {limit:.0e}"


def test_keys_and_order(generator):
    about = json.loads((GOLDEN / "stylegan2.json").read_text())
    own = {name: list(var.shape) for name, var in named_tensors(generator).items()}
    assert own == {name: shape for name, shape in about["keys"].items()}


def test_forward(generator, record):
    g = generator
    z, z2, mean = (jt.array(record[name]) for name in ("z", "z2", "mean_latent"))
    w = g.mapping(z)
    report("w", error(w, record["w"]), FORWARD)
    report("image_z", error(g.synthesis(w), record["image_z"]), FORWARD)
    report("image_trunc07", error(g.synthesis(g.truncate(w, .7, mean)), record["image_trunc07"]), FORWARD)
    report("image_mix3", error(g.synthesis(g.mix(w, g.mapping(z2), 3)), record["image_mix3"]), FORWARD)
    report("image_wp", error(g.synthesis(jt.array(record["wp"])), record["image_wp"]), FORWARD)


def test_s_codes(generator, record):
    codes = generator.styles(jt.array(record["w"]))
    for i, s in enumerate(codes):
        report(f"s_code/{i}", error(s, record[f"s_code/{i}"]), FORWARD)
    recorded = [jt.array(record[f"s_code/{i}"]) for i in range(len(codes))]
    report("image_s", error(generator.synthesis_from_styles(recorded), record["image_s"]), FORWARD)


def test_gradients(generator, record):
    wp = jt.array(record["wp"])
    loss = (generator.synthesis(wp) * jt.array(record["cotangent"])).sum()
    parameters = {n: v for n, v in generator.trainable().items() if not n.startswith(("style.", "noises."))}
    assert set(parameters) == {n[5:] for n in record if n.startswith("grad/")}
    grads = jt.grad(loss, [wp, *parameters.values()])
    report("grad_wp", error(grads[0], record["grad_wp"]), GRADIENT)
    strongest = max(np.abs(record[f"grad/{name}"]).max() for name in parameters if name.endswith("noise.weight"))
    for name, grad in zip(parameters, grads[1:]):
        ours, reference = summary(grad.numpy()), record[f"grad/{name}"]
        if name.endswith("noise.weight"):
            # A sum of 1.5 million terms of both signs that nearly cancel. About one activation of the net lies within
            # float32's rounding of the leaky ReLU's kink (1e-7 of 10) and takes the other slope, which alone moves
            # the smallest of these sums by 1e-2 of itself. So these scalars are measured by the largest of them.
            report(f"grad/{name}", float(np.abs(ours - reference).max() / strongest), GRADIENT)
        else:
            report(f"grad/{name}", error(ours, reference), GRADIENT)


def test_prompt_mapper():
    with np.load(GOLDEN / "stage1.npz") as data:
        z, prompts = data["z"][0], data["prompts"]
    about = json.loads((GOLDEN / "stylegan2.json").read_text())
    g = Generator(8, about["style_dim"], about["n_mlp"])
    style = {name: fill.generator(name, shape, 0) for name, shape in about["keys"].items() if name.startswith("style.")}
    own = named_tensors(g)
    for name, value in style.items():
        own[name].assign(jt.array(value))
    mapper = PromptMapper(about["style_dim"], *prompts.shape[1:])
    load_into(mapper, {name: fill.mapper(name, tuple(var.shape), 0) for name, var in named_tensors(mapper).items()},
              source="golden record")
    report("prompts", error(mapper(g.mapping(jt.array(z))), prompts), FORWARD)


def summary(a: np.ndarray) -> np.ndarray:
    """What the record keeps of a tensor: its norm, then up to 64 entries spread over it."""
    flat = a.reshape(-1)
    return np.concatenate([[np.linalg.norm(flat)], flat[::max(1, flat.size // 64)][:64]]).astype(np.float32)

"""LoRA and a DreamBooth step against diffusers and peft: recorded numbers of the tiny pipeline, from their files."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fixture_files import unpack
from reference import run_reference

from jittor_ipl.diffusion.dreambooth import Feature, context_of, denoising_loss
from jittor_ipl.diffusion.examples import LatentBatch
from jittor_ipl.diffusion.schedule import noise_schedule
from jittor_ipl.errors import UserError
from jittor_ipl.models import lora as branches
from jittor_ipl.models.diffusion.style_feature import StyleProjection, style_statistics
from jittor_ipl.models.layers import freeze
from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.diffusion import load_diffusion
from jittor_ipl.weights.lora import (
    BASE_KEY,
    read_lora,
    read_lora_for,
    to_tensors,
    weighted_sum,
    write_diffusers_lora,
    write_kohya_lora,
    write_lora,
)

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
# As in record_lora.py, which runs without our package.
TOKENS = np.array([[6, 4, 5, 7, *[0] * 8], [6, 5, 4, 7, *[0] * 8], [6, 4, 7, *[0] * 9], [6, 7, *[0] * 10]], np.int32)
OUTPUT_TOKENS = np.array([[6, 4, 5, 7, *[0] * 8], [6, 5, 1, 2, 4, 5, 1, 4, 5, 4, 5, 7]], np.int32)
TIMESTEPS, PRIOR_WEIGHT, GAMMA, FEATURE_WEIGHT = np.array([3, 700, 250, 999]), 0.5, 5.0, 0.25
FORWARD, GRADIENT = 1e-4, 1e-3      # most of the largest magnitude
FILES = [*(("plain", name) for name in ("diffusers", "diffusers-bin", "plain-kohya.safetensors", "plain-old.bin")),
         ("alpha", "metadata"), ("alpha", "alpha-kohya.safetensors")]


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    return unpack(tmp_path_factory.mktemp("lora"), "lora", "diffusion")


@pytest.fixture(scope="module")
def record() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "lora.npz") as data:
        return {name: data[name] for name in data.files}


@pytest.fixture(scope="module")
def model(files):
    return load_diffusion(files / "pipeline")


def check(name: str, ours, theirs: np.ndarray, most: float) -> None:
    error = np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()
    print(f"{name}: {error:.1e}")
    assert error <= most, f"{name}: {error:.2e}, at most {most}"


def networks(model):
    return {"unet": model.unet, "text_encoder": model.text}


def said(model, noise):
    """Return the text states and the U-Net's prediction of the recorded inputs."""
    with jt.no_grad():
        text = model.text.hidden_states(OUTPUT_TOKENS)
        return {"text": text.numpy(), "unet": model.unet(jt.array(noise), jt.array(np.float32([3, 700])), text).numpy()}


@pytest.mark.parametrize("which, file", FILES)
def test_files_of_other_programs_give_what_they_gave_there(files, record, model, which, file):
    lora = read_lora_for(model, files / file)
    branches.attach(networks(model), to_tensors(lora))
    attached = said(model, record["inputs"])
    branches.detach(networks(model))
    branches.fuse(networks(model), ((name, module.delta()) for name, module in lora.items()))
    fused = said(model, record["inputs"])
    branches.unfuse(networks(model))
    for name in attached:
        check(f"{file} {name}", attached[name], record[f"{which}/{name}"], FORWARD)
        check(f"{file} {name} fused", fused[name], attached[name], 1e-5)


def test_a_weighted_sum_of_two(files, record, model):
    both = weighted_sum([(read_lora_for(model, files / "diffusers"), 0.7),
                         (read_lora_for(model, files / "metadata"), -0.4)])
    branches.attach(networks(model), to_tensors(both))
    found = said(model, record["inputs"])
    branches.detach(networks(model))
    for name, value in found.items():
        check(f"sum {name}", value, record[f"sum/{name}"], FORWARD)


def style_feature(moments: np.ndarray) -> Feature:
    """Return the feature of the record: its layers as `record_lora.drawn` draws them, its pictures' statistics."""
    projection = StyleProjection((4, 8, 8), 12, 8)

    def drawn(name, shape):
        values = np.random.RandomState(sum(map(ord, name)) * 7919).randint(-16, 17, shape) / 64
        return (values + 1 if name.startswith("bn") and name.endswith("weight") else values).astype(np.float32)
    load_into(projection, {name: drawn(name, tuple(var.shape)) for name, var in named_tensors(projection).items()},
              source="test")
    return Feature(projection, style_statistics([tuple(one) for one in moments]), FEATURE_WEIGHT)


def sampled(grad: np.ndarray) -> np.ndarray:
    flat = grad.reshape(-1)
    return np.concatenate([[np.linalg.norm(flat)], flat[::max(1, flat.size // 64)][:64]])


def test_the_gradients_of_one_dreambooth_step(files, record, model):
    """LoRA on everything, the style feature, v-prediction, min-SNR weights, a prior, and one caption left out."""
    for network in networks(model).values():
        freeze(network)
    params = branches.attach(networks(model), to_tensors(read_lora_for(model, files / "metadata")))
    feature, schedule = style_feature(record["moments"]), noise_schedule(model.scheduler)
    params |= {f"feature.{name}": var for name, var in named_tensors(feature.projection).items()}
    shares = np.float32([0.5, 0.5, 0.5 * PRIOR_WEIGHT, 0.5 * PRIOR_WEIGHT])
    weights = schedule.min_snr_weights(TIMESTEPS, GAMMA) * shares
    batch = LatentBatch(record["latents"], record["noise"], TIMESTEPS, np.arange(4), weights)
    context = context_of(model, SimpleNamespace(tokens=TOKENS, empty=3), batch, feature=feature)
    loss = denoising_loss(model, schedule, batch, context)
    grads = dict(zip(params, (grad.numpy() for grad in jt.grad(loss, list(params.values())))))
    branches.detach(networks(model))
    check("states", context.numpy(), record["states"], FORWARD)
    check("loss", loss.numpy(), record["loss"], FORWARD)
    assert {f"step/{name}" for name in grads} == {name for name in record if name.startswith("step/")}
    largest = max(np.abs(record[f"step/{name}"][1:]).max() for name in grads)
    errors = {name: np.abs(sampled(grad) - record[f"step/{name}"]).max()
              / max(record[f"step/{name}"][0], 1e-4 * largest) for name, grad in grads.items()}
    worst = max(errors, key=errors.get)
    print(f"gradients of {len(grads)} tensors: {errors[worst]:.1e} at most of their length ({worst})")
    assert errors[worst] <= GRADIENT


@pytest.mark.parametrize("write", [write_lora, write_diffusers_lora, write_kohya_lora])
def test_a_lora_belongs_to_its_base(files, model, tmp_path, capsys, write):
    lora, path = read_lora(files / "metadata"), tmp_path / "lora.safetensors"
    write(path, lora, metadata={BASE_KEY: model.sha256})
    assert read_lora_for(model, path).keys() == lora.keys() and not capsys.readouterr().err
    write(path, lora, metadata={BASE_KEY: "0123456789abcdef"})
    with pytest.raises(UserError, match=f"another base model .0123456789ab. than .* .{model.sha256[:12]}."):
        read_lora_for(model, path)
    write(path, lora)
    assert read_lora_for(model, path).keys() == lora.keys()
    assert capsys.readouterr().err.count("does not tell which base model") == 1


@pytest.mark.reference
def test_todays_libraries_give_the_recorded_numbers():
    error = float(run_reference("tests/parity/record_lora.py", "--check", GOLDEN / "lora.npz").split()[-1])
    print(f"record: {error:.1e}")
    assert error <= 1e-5

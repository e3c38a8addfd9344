"""LoRA that `convert` wrote, alone or added up: what they compute, which base they name, and peft's own view."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixture_files import unpack
from reference import require_reference, run_reference

from jittor_ipl import cli
from jittor_ipl.models import lora as branches
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.containers.safetensors import read_safetensors
from jittor_ipl.weights.diffusion import load_diffusion
from jittor_ipl.weights.lora import BASE_KEY, read_lora, read_lora_for, to_tensors, write_diffusers_lora

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "lora.npz"
TOKENS = np.array([[6, 4, 5, 7, *[0] * 8], [6, 5, 1, 2, 4, 5, 1, 4, 5, 4, 5, 7]], np.int32)   # of record_lora.py
PEFT = """
import json, sys
sys.modules["torchvision"] = None
import numpy as np, torch
from diffusers import UNet2DConditionModel
from peft import PeftModel
unet = PeftModel.from_pretrained(UNet2DConditionModel.from_pretrained(sys.argv[1], subfolder="unet"), sys.argv[2])
given = np.load(sys.argv[3])
with torch.no_grad():
    made = unet(torch.tensor(given["noise"]), torch.tensor([3, 700]), torch.tensor(given["text"])).sample
np.save(sys.argv[4], made.numpy())
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    return unpack(tmp_path_factory.mktemp("lora"), "lora", "diffusion")


@pytest.fixture(scope="module")
def model(files):
    return load_diffusion(files / "pipeline")


@pytest.fixture(scope="module")
def record() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as data:
        return {name: data[name] for name in data.files}


def said(model, lora, noise) -> dict[str, np.ndarray]:
    """Return the text states and the U-Net's prediction of the recorded inputs with a LoRA."""
    networks, timesteps = {"unet": model.unet, "text_encoder": model.text}, jt.array(np.float32([3, 700]))
    branches.attach(networks, to_tensors(lora))
    with jt.no_grad():
        text = model.text.hidden_states(TOKENS)
        found = {"text": text.numpy(), "unet": model.unet(jt.array(noise), timesteps, text).numpy()}
    branches.detach(networks)
    return found


def check(found: dict[str, np.ndarray], record: dict[str, np.ndarray], which: str) -> None:
    for name, value in found.items():
        wanted = record[f"{which}/{name}"]
        error = np.abs(value - wanted).max() / np.abs(wanted).max()
        print(f"{which} {name}: {error:.1e}")
        assert error <= 1e-4, f"{which} {name}: {error:.2e}"


def convert(*words: object) -> int:
    return cli.main(["convert", *map(str, words)])


@pytest.mark.parametrize("dialect", ["ours", "kohya-lora", "diffusers-lora", "peft-lora"])
def test_a_converted_lora_computes_the_same_and_names_its_base(files, record, model, tmp_path, dialect):
    source = tmp_path / "style.safetensors"
    write_diffusers_lora(source, read_lora_for(model, files / "metadata"), metadata={BASE_KEY: model.sha256})
    assert convert(source, "--to", tmp_path / "out", "--as", dialect, "--name", "new") == 0
    parts = [tmp_path / "out" / "new" / part for part in ("unet", "text_encoder")] if dialect == "peft-lora" \
        else [tmp_path / "out" / "new.safetensors"]
    lora = {}
    for path in parts:
        lora |= read_lora_for(model, path)
        stored = path / "adapter_model.safetensors" if path.is_dir() else path
        assert read_safetensors(stored)[1][BASE_KEY] == model.sha256
    check(said(model, lora, record["inputs"]), record, "alpha")


def test_a_sum_of_two_is_one(files, record, model, tmp_path):
    assert convert(files / "diffusers", "--weight", 0.7, "--add", f"{files / 'metadata'}=-0.4", "--to", tmp_path,
                   "--name", "both") == 0
    check(said(model, read_lora_for(model, tmp_path / "both.safetensors"), record["inputs"]), record, "sum")


@pytest.mark.parametrize("options, why", [
    (["--add", "style"], "not of the form FILE=W"), (["--add", "style=much"], "not of the form FILE=W"),
    (["--weight", "nan"], "no finite number"), (["--as", "peft-lora", "--format", "pt"], "leave --format"),
    (["--as", "peft-lora", "--container", "a"], "--container is not for LoRA")])
def test_mistakes_are_one_line(files, tmp_path, capsys, options, why):
    assert convert(files / "metadata", "--to", tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert why in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_lora_of_two_bases_do_not_add_up(files, tmp_path, capsys):
    lora = read_lora(files / "metadata")
    for name in "ab":
        write_diffusers_lora(tmp_path / f"{name}.safetensors", lora, metadata={BASE_KEY: name * 64})
    other, out = f"{tmp_path / 'b.safetensors'}=1", tmp_path / "out"
    assert convert(tmp_path / "a.safetensors", "--add", other, "--to", out) == 2
    assert "only LoRA of one base add up" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.reference
def test_peft_loads_the_folder(files, record, tmp_path):
    require_reference("peft", "diffusers")
    assert convert(files / "metadata", "--to", tmp_path, "--as", "peft-lora", "--name", "style") == 0
    np.savez(tmp_path / "given.npz", noise=record["inputs"], text=record["alpha/text"])
    run_reference(PEFT, files / "pipeline", tmp_path / "style" / "unet", tmp_path / "given.npz", tmp_path / "made.npy")
    check({"unet": np.load(tmp_path / "made.npy")}, record, "alpha")

"""Whole Stable Diffusion folders: loaded, computed with, written again, and everything that can be wrong with one."""
from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fixture_files import unpack

from jittor_ipl.errors import UserError
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights import refs
from jittor_ipl.weights.containers.safetensors import read_safetensors, write_safetensors
from jittor_ipl.weights.diffusion import LatentDiffusion, load_diffusion, save_diffusion, sha256_of, tensors_of
from jittor_ipl.weights.inspect import inspect


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    return unpack(tmp_path_factory.mktemp("diffusion"), "diffusion")


@pytest.fixture(scope="module")
def model(files) -> LatentDiffusion:
    return load_diffusion(files / "pipeline")


@pytest.fixture()
def pipeline(files, tmp_path) -> Path:
    return Path(shutil.copytree(files / "pipeline", tmp_path / "pipeline"))


def change(path: Path, **fields) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def write(folder: Path, model: LatentDiffusion, **options) -> str:
    return save_diffusion(folder, model.unet, model.vae, model.text, model.tokenizer, model.scheduler, **options)


def test_every_form_and_type_of_the_same_values_has_one_hash(files, model, tmp_path):
    assert {load_diffusion(files / form).sha256 for form in ("variants", "pickled")} == {model.sha256}
    assert write(tmp_path / "half", model) == model.sha256 == write(tmp_path / "full", model, dtype="float32")
    assert load_diffusion(tmp_path / "half").sha256 == load_diffusion(tmp_path / "full").sha256 == model.sha256


def test_what_is_written_loads_as_the_same_model(model, tmp_path):
    write(tmp_path / "again", model)
    again = load_diffusion(tmp_path / "again")
    assert (again.unet.config, again.vae.config, again.scheduler) == (model.unet.config, model.vae.config,
                                                                      model.scheduler)
    assert again.size == model.size == 16 and again.tokenizer.words == model.tokenizer.words
    for part, tensors in tensors_of(model).items():
        assert all(np.array_equal(tensors_of(again)[part][name], value) for name, value in tensors.items())
    assert np.array_equal(again.text_states(["a ring", ""]).numpy(), model.text_states(["a ring", ""]).numpy())
    before = {path: path.read_bytes() for path in (tmp_path / "again").rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="exists"):
        write(tmp_path / "again", model)
    write(tmp_path / "again", again, overwrite=True)
    assert before == {path: path.read_bytes() for path in (tmp_path / "again").rglob("*") if path.is_file()}
    assert [path.name for path in tmp_path.iterdir()] == ["again"]


def test_a_value_beyond_float16_is_refused(model, tmp_path, files):
    loaded = load_diffusion(files / "pipeline")
    loaded.vae.quant_conv.bias.assign(jt.full_like(loaded.vae.quant_conv.bias, 1e6))
    with pytest.raises(UserError, match="quant_conv.bias .*not finite in float16"):
        write(tmp_path / "big", loaded)
    assert not any(tmp_path.iterdir())


def test_a_demo_asset_may_be_a_folder(files, model, tmp_path, monkeypatch):
    shutil.copytree(files / "pipeline", tmp_path / "diffusion")
    monkeypatch.setattr(refs, "ASSETS", tmp_path)
    assert load_diffusion("demo:diffusion").sha256 == model.sha256
    with pytest.raises(UserError, match="did you mean 'diffusion'"):
        load_diffusion("demo:difusion")
    with pytest.raises(UserError, match="folder of several networks"):
        refs.resolve("demo:diffusion")


@pytest.mark.parametrize("place, told", [
    ("", "has no model_index.json: a folder in diffusers' layout.*did you mean '.*pickled'"),
    ("pipeline/unet", "has no model_index.json.*did you mean '.*pipeline'"),
    ("pipeline/unet/diffusion_pytorch_model.safetensors", "is a single file; a folder in diffusers' layout"),
    ("pipelin", "did you mean"), ("vae-old", "has no model_index.json")])
def test_what_is_no_pipeline_is_told(files, tmp_path, place, told):
    root = Path(shutil.copytree(files, tmp_path / "models"))
    with pytest.raises(UserError, match=told):
        load_diffusion(root / place)


def test_a_snapshot_of_the_hubs_cache_is_found(pipeline, tmp_path):
    target = tmp_path / "models--x--y" / "snapshots" / "0af"
    target.parent.mkdir(parents=True)
    pipeline.rename(target)
    with pytest.raises(UserError, match=r"did you mean '.*snapshots/0af'"):
        load_diffusion(tmp_path / "models--x--y")
    assert load_diffusion(target).size == 16


def lfs(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def poison(path: Path) -> None:
    tensors = {name: np.array(value) for name, value in read_safetensors(path)[0].items()}
    tensors["conv_in.weight"].flat[3] = np.nan
    write_safetensors(path, tensors)


UNET, TEXT = "unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"


@pytest.mark.parametrize("place, harm, told", [
    (TEXT, lambda path: path.write_bytes(path.read_bytes()[:300]), "text_encoder.*header claims"),
    (UNET, lfs, "Git LFS pointer.*git lfs pull"), (TEXT, lfs, "Git LFS pointer"),
    (UNET, cut, "unet.* should have .* bytes and has .*; fetch it again"),
    (UNET, Path.unlink, "unet holds no weights; the download may be incomplete"),
    (UNET, poison, "'conv_in.weight' holds NaN"),
    (UNET, lambda path: path.write_text("<!doctype html><html>"), "web page"),
    ("unet/config.json", Path.unlink, "cannot read the configuration .*unet"),
    ("unet/config.json", lambda path: path.write_text("{"), "not JSON"), ("vae", shutil.rmtree, "has no folder vae"),
    ("tokenizer/merges.txt", Path.unlink, "list of merges"), ("scheduler/scheduler_config.json", lfs, "not JSON"),
    ("unet/config.json", lambda path: change(path, addition_embed_type="text_time"), "unet.*XL"),
    ("unet/config.json", lambda path: change(path, time_cond_proj_dim=8), "unet.*consistency"),
    ("unet/config.json", lambda path: change(path, in_channels=9), "inpainting"),
    ("unet/config.json", lambda path: change(path, attention_head_dim=None), "number of heads"),
    ("unet/config.json", lambda path: change(path, cross_attention_dim=16), "8 wide"),
    ("model_index.json", lambda path: change(path, text_encoder_2=["transformers", "CLIPTextModel"]), "XL"),
    ("vae/config.json", lambda path: change(path, out_channels=4), "pictures have 3"),
    ("tokenizer/tokenizer_config.json", lambda path: change(path, model_max_length=99), "tokenizer makes 99 tokens"),
    ("text_encoder/config.json", lambda path: change(path, vocab_size=7), "tokenizer knows 8 tokens")])
def test_a_broken_folder_is_told_in_one_line(pipeline, place, harm, told):
    harm(pipeline / place)
    if harm is not poison:      # a hash knows no wrong values
        with pytest.raises(UserError, match=told):
            sha256_of(pipeline)
    with pytest.raises(UserError, match=told) as caught:
        load_diffusion(pipeline)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600, str(caught.value)


def test_inspect_shows_what_would_be_loaded(pipeline, model, files):
    shutil.copy(files / "pipeline" / UNET, pipeline / "v1-5-pruned.safetensors")      # the hub's folders have such
    seen = inspect(pipeline)
    last = seen.networks[-1]
    assert seen.exit_code == 0 and [report.label for report in seen.networks] == ["text_encoder", "unet", "vae",
                                                                                  "pipeline"]
    assert last.metadata == {"base_sha256": model.sha256} and "diffusion.md" in last.next_step
    assert last.config["pictures"] == 16 and last.config["context_length"] == 12 and last.config["tokens"] == 8
    poison(pipeline / UNET)
    seen = inspect(pipeline)
    assert seen.exit_code == 1 and "'conv_in.weight' holds 1 NaN" in seen.problems[0]
    assert not seen.networks[-1].metadata and seen.networks[1].next_step.startswith("mend")


def test_folders_of_later_models_are_refused_by_name(pipeline):
    """model_index.json as Stable Diffusion XL, 3 and FLUX have it."""
    later = {"StableDiffusionXLPipeline": {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
                                           "tokenizer_2": ["transformers", "CLIPTokenizer"]},
             "StableDiffusion3Pipeline": {"transformer": ["diffusers", "SD3Transformer2DModel"], "unet": [None, None]},
             "FluxPipeline": {"transformer": ["diffusers", "FluxTransformer2DModel"],
                              "text_encoder_2": ["transformers", "T5EncoderModel"]}}
    index = json.loads((pipeline / "model_index.json").read_text())
    for name, parts in later.items():
        (pipeline / "model_index.json").write_text(json.dumps({**index, "_class_name": name, **parts}))
        with pytest.raises(UserError, match="is not supported.*XL and later.*1.x and 2.x are supported"):
            load_diffusion(pipeline)
        report = inspect(pipeline).networks[-1]
        assert "1.x and 2.x" in report.problems[0]

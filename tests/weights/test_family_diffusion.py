"""Diffusion folders as diffusers saves them, and the sizes of the published networks."""
from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from fixture_files import unpack
from network_names import shapes_of
from reference import run_reference

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.safetensors import read_safetensors, write_safetensors
from jittor_ipl.weights.convert import convert
from jittor_ipl.weights.families.diffusion.text_encoder import guess_text_config, text_config, text_schema
from jittor_ipl.weights.families.diffusion.unet import guess_unet_config, unet_config, unet_schema
from jittor_ipl.weights.families.diffusion.vae import OLD_PROJECTIONS, guess_vae_config, vae_config, vae_schema
from jittor_ipl.weights.families.family import Hints
from jittor_ipl.weights.families.registry import identify
from jittor_ipl.weights.inspect import inspect
from jittor_ipl.weights.network import read_network
from jittor_ipl.weights.pipeline import read_pipeline, read_scheduler

SD21_UNET = {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True,
             "block_out_channels": [320, 640, 1280, 1280], "upcast_attention": True, "sample_size": 96}
SD_VAE = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4,
          "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
SD21_TEXT = {"architectures": ["CLIPTextModel"], "hidden_size": 1024, "intermediate_size": 4096,
             "num_hidden_layers": 23,
             "num_attention_heads": 16, "hidden_act": "gelu", "vocab_size": 49408, "torch_dtype": "float32"}
NETWORKS = {"unet": ("unet", guess_unet_config, unet_config, unet_schema),
            "vae": ("vae", guess_vae_config, vae_config, vae_schema),
            "text_encoder": ("text-encoder", guess_text_config, text_config, text_schema)}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    return unpack(tmp_path_factory.mktemp("diffusion"), "diffusion")


@pytest.fixture()
def pipeline(files, tmp_path) -> Path:
    return Path(shutil.copytree(files / "pipeline", tmp_path / "pipeline"))


def parameters(schema: dict[str, tuple[int, ...]]) -> int:
    return sum(map(math.prod, schema.values()))


def change(path: Path, **fields) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize("schema, number", [
    (unet_schema(unet_config(SD21_UNET)), 865_910_724),
    (unet_schema(unet_config({"cross_attention_dim": 768})), 859_520_964),
    (vae_schema(vae_config(SD_VAE)), 83_653_863), (text_schema(text_config(SD21_TEXT)), 340_387_840),
    (text_schema(text_config({"hidden_size": 768, "intermediate_size": 3072})), 123_060_480)])
def test_published_networks_have_their_size(schema, number):
    assert parameters(schema) == number


@pytest.mark.parametrize("part", NETWORKS)
@pytest.mark.parametrize("folder", ["pipeline", "pickled", "variants"])
def test_every_form_gives_the_same_network(files, part, folder):
    kind, _, read_config, _ = NETWORKS[part]
    network = read_network(files / folder / part, kind=kind)
    config = json.loads((files / "pipeline" / part / "config.json").read_text())
    assert network.layout.config == json.loads(json.dumps(read_config(config)))
    wanted = next((files / "pipeline" / part).glob("*.safetensors"))
    tensors = read_safetensors(wanted)[0]
    assert network.tensors.keys() == tensors.keys()
    assert all(np.array_equal(network.tensors[name], tensors[name]) for name in tensors)
    assert parameters(shapes_of(tensors)) == json.loads((files / "counts.json").read_text())[part]


def test_unet_of_convolutions(files):
    network = read_network(files / "unet-conv", kind="unet")
    assert network.layout.config["attention_head_dim"] == [2, 2]
    assert network.tensors["mid_block.attentions.0.proj_in.weight"].shape == (8, 8, 1, 1)


def test_old_attention_names_become_todays(files):
    network = read_network(files / "vae-old", kind="vae")
    assert network.layout.dialect == "diffusers-old"
    today = read_network(files / "pipeline" / "vae").tensors
    assert all(np.array_equal(network.tensors[name], today[name])
               for name in today) and len(today) == len(network.tensors)


@pytest.mark.parametrize("part", NETWORKS)
def test_the_config_follows_from_the_shapes_but_for_the_heads(files, part):
    kind, guess, read_config, schema = NETWORKS[part]
    shapes = shapes_of(read_network(files / "pipeline" / part).tensors)
    layout = identify(shapes).layout
    assert layout.kind == kind and layout.expected == shapes
    big = {"unet": unet_schema(unet_config(SD21_UNET)), "vae": vae_schema(vae_config(SD_VAE), OLD_PROJECTIONS),
           "text_encoder": text_schema(text_config(SD21_TEXT))}[part]
    again = read_config(guess(big))
    assert (schema(again, OLD_PROJECTIONS) if part == "vae" else schema(again)) == big


@pytest.mark.parametrize("part", NETWORKS)
def test_our_config_says_the_same_as_diffusers(files, part):
    _, _, read_config, schema = NETWORKS[part]
    config = read_config(json.loads((files / "pipeline" / part / "config.json").read_text()))
    assert read_config(json.loads(json.dumps(config))) == config


def test_text_states_that_join_the_timestep():
    config = unet_config({**SD21_UNET, "addition_embed_type": "text"})
    schema = unet_schema(config)
    assert schema["add_embedding.pool.positional_embedding"] == (1, 1024)
    assert schema["add_embedding.proj.weight"] == (1280, 1024)
    assert unet_config(guess_unet_config(schema)) == {**config, "attention_head_dim": None, "sample_size": 64}
    with pytest.raises(UserError, match="64 heads cannot pool"):
        unet_config({"cross_attention_dim": 96, "addition_embed_type": "text"})
    assert [unet_config({"sample_size": value})["sample_size"] for value in (None, 96, [64, 96])] == [64, 96, 96]


@pytest.mark.parametrize("fields, told", [
    ({"addition_embed_type": "text_time"}, "addition_embed_type 'text_time'.*XL"),
    ({"class_embed_type": "timestep"}, "class_embed_type"), ({"time_cond_proj_dim": 256}, "consistency"),
    ({"dual_cross_attention": True}, "dual_cross_attention"),
    ({"resnet_time_scale_shift": "scale_shift"}, "scale_shift"),
    ({"down_block_types": ["AttnDownBlock2D", "DownBlock2D"]}, "did you mean 'CrossAttnDownBlock2D'"),
    ({"attention_head_dims": 3}, "'attention_head_dims'.*did you mean 'attention_head_dim'"),
    ({"attention_head_dim": 3}, "3 heads do not divide"), ({"norm_num_groups": 3}, "does not divide"),
    ({"layers_per_block": 10**9}, "from 1 to 64"),
    ({"block_out_channels": "many"}, "list with one entry a block"),
    ({"cross_attention_dim": 9}, "attn2.to_k.weight.*shape"), ({"_class_name": "UNet2DModel"}, "'UNet2DModel'")])
def test_a_config_that_changes_the_network_is_refused_by_name(pipeline, fields, told):
    change(pipeline / "unet" / "config.json", **fields)
    with pytest.raises(UserError, match=told):
        read_network(pipeline / "unet")


def test_fields_that_change_nothing_are_passed_over(pipeline):
    change(pipeline / "unet" / "config.json", sample_size=64, upcast_attention=True, _diffusers_version="0.9",
           future_field=None)
    assert read_network(pipeline / "unet").layout.kind == "unet"


@pytest.mark.parametrize("part, fields, told", [
    ("vae", {"shift_factor": 0.1}, "Stable Diffusion 3"), ("vae", {"use_quant_conv": False}, "use_quant_conv"),
    ("vae", {"down_block_types": ["AttnDownEncoderBlock2D"] * 2}, "did you mean 'DownEncoderBlock2D'"),
    ("text_encoder", {"hidden_act": "relu"}, "relu"), ("text_encoder", {"num_attention_heads": 3}, "do not divide"),
    ("text_encoder", {"architectures": ["T5EncoderModel"]}, "T5EncoderModel")])
def test_other_configs_are_refused_by_name(pipeline, part, fields, told):
    change(pipeline / part / "config.json", **fields)
    with pytest.raises(UserError, match=told):
        read_network(pipeline / part, kind=NETWORKS[part][0])


ODD = (None, True, False, 0, -1, 3, 10**12, 0.5, 1e400, float("nan"), "", "x", [], [0], [3, 3], [[1]], [None, None], {},
       {"a": 1})


@pytest.mark.parametrize("part", NETWORKS)
def test_any_config_gives_a_network_or_one_line(files, part):
    shapes = shapes_of(read_network(files / "pipeline" / part).tensors)
    config = json.loads((files / "pipeline" / part / "config.json").read_text())
    for name in config:
        for value in ODD:
            try:
                identify(shapes, Hints(config={**config, name: value}))
            except UserError as error:
                assert "\n" not in str(error) and len(str(error)) < 800


@pytest.mark.parametrize("part", NETWORKS)
def test_any_damage_gives_a_layout_or_one_line(files, part):
    whole = shapes_of(read_network(files / "pipeline" / part).tensors)
    rng = np.random.default_rng(0)
    for _ in range(150):
        shapes = dict(whole)
        for name in rng.choice(list(whole), size=rng.integers(1, 30), replace=False):
            shape = shapes.pop(name)
            odd = [(), shape[::-1], (*shape, 1), (0,) * len(shape), (10**9,)][rng.integers(5)]
            shapes |= [{}, {name: odd}, {name.replace("0", "99999999999"): shape},
                       {name.replace("0", "x"): shape}][rng.integers(4)]
        try:
            identify(shapes)
        except UserError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("part", NETWORKS)
def test_missing_and_extra_tensors_are_told_with_the_nearest_name(files, part, tmp_path):
    tensors = dict(read_network(files / "pipeline" / part).tensors)
    name = [name for name in tensors if name.endswith("weight")][7]
    tensors[name.replace("weight", "wieght")] = tensors.pop(name)
    write_safetensors(tmp_path / "damaged.safetensors", tensors)
    with pytest.raises(UserError, match=f"{name}.*did you mean.*wieght"):
        read_network(tmp_path / "damaged.safetensors")


def test_relatives_are_told_by_what_they_are():
    for names, told in (({"controlnet_cond_embedding.conv_in.weight": (1,), "time_embedding.linear_1.weight": (4, 4)},
                         "ControlNet"),
                        ({"add_embedding.linear_1.weight": (1,), "time_embedding.linear_1.weight": (4, 4)}, "XL"),
                        ({"model.diffusion_model.out.0.weight": (1,), "first_stage_model.quant_conv.weight": (1,)},
                         "one file")):
        with pytest.raises(UserError, match=told):
            identify(names, Hints())


def test_a_pipeline_is_read_part_by_part(pipeline):
    read = read_pipeline(pipeline)
    assert read.class_name == "StableDiffusionPipeline" and read.problems == ()
    assert read.scheduler.class_name == "DDIMScheduler" and read.scheduler.prediction_type == "v_prediction"
    assert (read.scheduler.beta_start, read.scheduler.beta_end, read.scheduler.beta_schedule) == (0.00085, 0.012,
                                                                                                  "scaled_linear")
    assert read.scheduler.others["steps_offset"] == 1
    change(pipeline / "text_encoder" / "config.json", hidden_size=16)
    assert "16 wide" in read_pipeline(pipeline).problems[0]


@pytest.mark.parametrize("fields, told", [
    ({"text_encoder_2": ["transformers", "CLIPTextModel"]}, "text_encoder_2.*XL"),
    ({"unet": ["diffusers", "UNet3D"]}, "unet 'UNet3D'"),
    ({"vae": [None, None]}, "names no vae"),
    ({"scheduler": ["diffusers", "PNDMSchedular"]}, "did you mean 'PNDMScheduler'"),
    ({"tokenizer": "CLIPTokenizer"}, "names no tokenizer"), ({"unet": [1]}, "library, class")])
def test_an_unsupported_pipeline_is_refused_by_name(pipeline, fields, told):
    change(pipeline / "model_index.json", **fields)
    with pytest.raises(UserError, match=told):
        read_pipeline(pipeline)


@pytest.mark.parametrize("fields, told", [
    ({"beta_schedule": "sigmoid"}, "beta_schedule"), ({"prediction_type": "velocity"}, "prediction_type"),
    ({"beta_end": 2}, "beta_end"), ({"trained_betas": [0.1]}, "trained_betas"),
    ({"num_train_timesteps": 0}, "num_train_timesteps"),
    ({"_class_name": "X"}, "scheduler 'X'")])
def test_an_unsupported_schedule_is_refused_by_name(fields, told):
    with pytest.raises(UserError, match=told):
        read_scheduler({"_class_name": "DDIMScheduler", **fields})


def test_a_pipeline_is_inspected_and_converted_part_by_part(pipeline, tmp_path):
    (pipeline / "safety_checker").mkdir()
    write_safetensors(pipeline / "safety_checker" / "model.safetensors", {"concept_embeds": np.ones((2, 2), "f4")})
    change(pipeline / "model_index.json", safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"])
    seen = inspect(pipeline)
    assert seen.exit_code == 0 and [report.label for report in seen.networks] == ["text_encoder", "unet", "vae",
                                                                                  "pipeline"]
    last = seen.networks[-1]
    assert last.config["prediction_type"] == "v_prediction" and last.not_read == ["safety_checker"]
    written = list(convert(pipeline, tmp_path / "out"))
    assert [one.layout.kind for one in written] == ["text-encoder", "unet", "vae"]
    for one, part in zip(written, ("text_encoder", "unet", "vae")):
        again, first = read_network(one.path), read_network(pipeline / part)
        assert again.layout.config == first.layout.config
        assert all(np.array_equal(again.tensors[name], first.tensors[name]) for name in first.tensors)


@pytest.mark.reference
def test_todays_diffusers_writes_the_same_files(tmp_path, files):
    run_reference("tests/parity/make_diffusion_fixtures.py", tmp_path / "made")
    for folder in ("pipeline", "pickled", "variants", "vae-old", "unet-conv"):
        parts = NETWORKS if folder in ("pipeline", "pickled", "variants") else ("",)
        for part in parts:
            made, kept = read_network(tmp_path / "made" / folder / part), read_network(files / folder / part)
            assert made.layout == kept.layout
            assert all(np.array_equal(made.tensors[name], kept.tensors[name]) for name in kept.tensors)

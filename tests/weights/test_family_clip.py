"""CLIP's files: every dialect loads to the same network and computes what the library that wrote it computes.

The files are made by `tests/parity/make_clip_fixtures.py` with OpenAI's, Hugging Face's and OpenCLIP's own code; a
packed copy lies in tests/fixtures/clip, and the reference tests make them anew.
"""
from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from fixture_files import unpack
from network_names import adopt, recognise

from jittor_ipl import clip as library
from jittor_ipl.errors import UserError
from jittor_ipl.models.clip.config import ClipConfig
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.strict import compare, numpy_tensors
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.clip import load_clip
from jittor_ipl.weights.containers.safetensors import read_safetensors, write_safetensors
from jittor_ipl.weights.containers.torch_writer import write_torch
from jittor_ipl.weights.families.clip import huggingface
from jittor_ipl.weights.families.clip.shapes import infer_config, tensor_shapes
from jittor_ipl.weights.families.family import Hints
from jittor_ipl.weights.inspect import inspect
from jittor_ipl.weights.network import read_network

sys.path.insert(0, str(Path(__file__).parents[1] / "parity"))
from reference import require_reference, run_reference  # noqa: E402

LIMIT = 1e-5
# file or folder -> (the record of what its library computes, its dialect, its activation)
CASES = {
    "openai_vit.pt": ("openai_vit", "openai", "quick_gelu"),
    "openai_resnet.pt": ("openai_resnet", "openai", "quick_gelu"),
    "openai_state.pt": ("openai_vit", "openai", "quick_gelu"),
    "jclip.pkl": ("openai_vit", "jclip", "quick_gelu"),
    "huggingface": ("huggingface", "huggingface", "quick_gelu"),
    "huggingface/model.safetensors": ("huggingface", "huggingface", "quick_gelu"),
    "huggingface_gelu": ("huggingface_gelu", "huggingface", "gelu"),
    "huggingface_gelu/pytorch_model.bin.index.json": ("huggingface_gelu", "huggingface", "gelu"),
    "open_clip": ("open_clip", "open_clip", "gelu"),
    "open_clip/open_clip_model.safetensors": ("open_clip", "open_clip", "gelu"),
    "open_clip_custom": ("open_clip_custom", "open_clip", "quick_gelu"),
    "open_clip_narrow": ("open_clip_narrow", "open_clip", "gelu"),
    "open_clip_resnet": ("open_clip_resnet", "open_clip", "gelu"),
}
VIT = dict(embed_dim=16, image_resolution=16, vision_layers=1, vision_width=64, vision_patch_size=8, context_length=12,
           vocab_size=64,
           transformer_width=32, transformer_heads=1, transformer_layers=2)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    return unpack(tmp_path_factory.mktemp("clip"), "clip")


def check(folder: Path, file: str, record: str) -> Clip:
    """Load a file and compare features and gradient with those its library recorded."""
    model = load_clip(folder / file)
    with np.load(folder / f"{record}.npz") as data:
        known = dict(data)
    images = jt.array(known["images"])
    features = model.encode_image(images)
    gradient = jt.grad((features * jt.array(known["cotangent"])).sum(), images)
    for name, ours in (("image_features", features), ("text_features", model.encode_text(known["tokens"])),
                       ("gradient", gradient)):
        error = np.abs(ours.numpy() - known[name]).max() / np.abs(known[name]).max()
        print(f"{file} {name}: relative error {error:.1e} (limit {LIMIT:.0e})")
        assert error <= LIMIT
    return model


@pytest.mark.parametrize("file", CASES)
def test_a_file_computes_what_its_library_computes(files, file):
    record, dialect, activation = CASES[file]
    model = check(files, file, record)
    assert model.config()["activation"] == activation and read_network(files / file).layout.dialect == dialect


def test_one_network_in_every_dialect_is_the_same_tensors(files):
    first = read_network(files / "openai_vit.pt").tensors
    for file in ("openai_state.pt", "trained.pt", "jclip.pkl", "huggingface", "huggingface_gelu", "open_clip",
                 "open_clip_custom"):
        tensors = read_network(files / file).tensors
        assert tensors.keys() == first.keys(), file
        for name, value in tensors.items():
            near = name == "logit_scale"        # ln(1/0.07) is not exact in half precision
            assert np.allclose(value.reshape(-1), first[name].reshape(-1), rtol=1e-3 if near else 0,
                               atol=0), (file, name)


def test_what_configurations_tell_beside_the_weights(files):
    told = {file: read_network(files / file).layout.config
            for file in ("huggingface", "huggingface_gelu", "open_clip", "open_clip_narrow")}
    assert (told["huggingface"]["vision_heads"], told["huggingface"]["transformer_heads"]) == (4, 2)
    plain, gelu = told["huggingface"], told["huggingface_gelu"]
    assert plain["image_mean"] == [0.5, 0.25, 0.125] and gelu.get("image_mean") is None
    assert gelu["eps"] == 1e-3 and gelu["end_token"] == 7 and "end_token" not in plain
    assert told["open_clip"]["vision_heads"] == 4 and told["open_clip"]["image_std"] == [0.5, 0.5, 0.25]
    assert (told["open_clip_narrow"]["vision_mlp"], told["open_clip_narrow"]["transformer_mlp"]) == (96, 24)


def test_the_library_call_takes_each_and_normalises_as_told(files):
    from PIL import Image
    picture = Image.new("RGB", (16, 16), (255, 0, 51))
    for file, mean, std in (("huggingface", (0.5, 0.25, 0.125), (0.5, 0.5, 0.25)),
                            ("open_clip_custom", (0.5, 0.5, 0.5), (0.5, 0.5, 0.25))):
        model, preprocess = library.load(files / file)
        expected = (np.array([1, 0, 0.2]) - mean) / std
        assert np.abs(preprocess(picture).numpy()[:, 0, 0] - expected).max() < 1e-6
        image = jt.array(np.float32([1, -1, -0.6]).reshape(1, 3, 1, 1) * np.ones((1, 1, 16, 16), np.float32))
        assert np.abs(model.preprocess(image).numpy()[0, :, 3, 3] - expected).max() < 1e-5


def test_the_user_can_tell_the_activation(files):
    assert load_clip(files / "openai_state.pt", activation="gelu").config()["activation"] == "gelu"
    assert library.load(files / "open_clip", activation="quick_gelu")[0].config()["activation"] == "quick_gelu"
    with pytest.raises(UserError, match="quick_gelu or gelu"):
        load_clip(files / "openai_state.pt", activation="relu")


def test_a_file_of_openclip_without_its_configuration(files, tmp_path):
    """The name is all there is to tell it from OpenAI's, and means OpenCLIP's default."""
    data = (files / "open_clip" / "open_clip_model.safetensors").read_bytes()
    for name, activation in (("open_clip_model.safetensors", "gelu"), ("ViT-B-32.safetensors", "quick_gelu")):
        (tmp_path / name).write_bytes(data)
        assert load_clip(tmp_path / name).config()["activation"] == activation


def run_of(tensors: dict, name: str | None) -> dict:
    """What OpenCLIP's training saves after an epoch; with None, its `state_dict` alone."""
    state = {f"module.{key}": value for key, value in tensors.items()}
    return state if name is None else {"epoch": 3, "name": name, "state_dict": state, "optimizer": {"state": {}},
                                       "scaler": {"scale": 2.0}}


@pytest.mark.parametrize("run, file, activation, remark", [
    ("2026_01_02-03_04_05-model_ViT-B-32-lr_0.001-b_64-j_4-p_amp", "epoch_1.pt", "gelu",
     "run '2026_01_02.*gelu is assumed"),
    ("mine", "epoch_1.pt", "gelu", "run 'mine'.*gelu is assumed, as in OpenCLIP"),
    ("2026_01_02-03_04_05-model_ViT-B-32-quickgelu-lr_0.001-b_64-j_4-p_amp", "epoch_1.pt", "quick_gelu", None),
    ("mine", "ViT-B-32-quickgelu.pt", "quick_gelu", None),
    (None, "ViT-B-32.pt", "quick_gelu", "quick_gelu is assumed, as in OpenAI.*most of OpenCLIP's models have gelu")])
def test_the_activation_is_told_or_assumed_aloud(files, tmp_path, capsys, run, file, activation, remark):
    tensors = read_network(files / "openai_vit.pt").tensors
    write_torch(tmp_path / file, run_of(tensors, run))
    layout = read_network(tmp_path / file).layout
    assert layout.config["activation"] == activation and bool(layout.remarks) == bool(remark)
    assert load_clip(tmp_path / file).config()["activation"] == activation
    assert [bool(re.search(remark, line))
            for line in inspect(tmp_path / file).networks[0].remarks] == [True] * bool(remark)
    note = capsys.readouterr().err
    assert bool(re.search(f"note: .*{remark}", note)) if remark else not note
    load_clip(tmp_path / file, activation="gelu")
    assert not capsys.readouterr().err


def test_a_training_checkpoint_computes_what_its_library_computes(files):
    """Trained on from OpenAI's weights, which only the user knows."""
    assert read_network(files / "trained.pt").layout.config["activation"] == "gelu"
    with np.load(files / "openai_vit.npz") as data:
        known = dict(data)
    features = load_clip(files / "trained.pt", activation="quick_gelu").encode_image(jt.array(known["images"])).numpy()
    assert np.abs(features - known["image_features"]).max() <= LIMIT * np.abs(known["image_features"]).max()


@pytest.mark.parametrize("file", ["openai_vit.pt", "jclip.pkl", "huggingface", "open_clip", "open_clip_custom"])
def test_what_tells_its_activation_is_taken_without_a_word(files, capsys, file):
    load_clip(files / file)
    assert not read_network(files / file).layout.remarks and not capsys.readouterr().err


@pytest.mark.parametrize("file, half", [("huggingface_text", "text"), ("huggingface_vision", "image")])
def test_half_a_clip_is_recognised_and_refused(files, file, half):
    network = read_network(files / file)
    assert network.layout.kind == {"text": "text-encoder", "image": "image-encoder"}[half]
    if half == "image":
        whole = read_network(files / "huggingface").tensors
        assert all(np.array_equal(value, whole[name])
                   for name, value in network.tensors.items()) and len(network.tensors) == 20
    with pytest.raises(UserError, match=f"only the {half} half of a CLIP"):
        load_clip(files / file)


# ---- shapes alone: what networks are told apart, and what is said of damaged ones ------------------------------------
@pytest.mark.parametrize("config", [
    VIT, dict(VIT, vision_mlp=100, transformer_mlp=50),
    dict(VIT, image_resolution=64, vision_layers=(1, 2, 1, 3), vision_width=16, vision_patch_size=None),
    dict(VIT, image_resolution=32, vision_layers=(1, 1, 1, 1), vision_width=4, vision_patch_size=None, norm="group")])
def test_expected_shapes_are_those_of_the_network(config):
    model = Clip(ClipConfig(**config))
    shapes = {name: value.shape for name, value in numpy_tensors(model).items()}
    assert shapes == tensor_shapes(model.config())
    inferred = infer_config(shapes, "x")
    assert {key: inferred[key] for key in config} == {**config, "vision_layers": inferred["vision_layers"]}
    assert list(np.atleast_1d(inferred["vision_layers"])) == list(np.atleast_1d(config["vision_layers"]))


@pytest.mark.parametrize("width, heads, activation", [
    (768, None, "quick_gelu"), (1024, None, "quick_gelu"), (1280, 16, "gelu"), (1408, 16, "gelu"), (1664, 16, "gelu")])
def test_towers_wider_than_openais_are_openclips(width, heads, activation):
    layout = recognise(tensor_shapes(dict(VIT, vision_width=width, vision_patch_size=8)))
    assert layout.config.get("vision_heads") == heads and layout.config.get("activation") == activation


def dialects() -> dict[str, tuple[dict, Hints]]:
    ours = tensor_shapes(VIT)
    return {"openai": (ours, Hints(format="torchscript")),
            "open_clip": ({(n if n.startswith(("visual", "logit")) else f"text.{n}"): s
                                                                        for n, s in ours.items()}, Hints()),
            "huggingface": (huggingface.their_shapes(ours), Hints())}


@pytest.mark.parametrize("dialect", dialects())
def test_any_missing_renamed_or_misshaped_tensor_is_named(dialect):
    shapes, hints = dialects()[dialect]
    assert not compare(recognise(shapes, hints).expected, (), shapes)
    for name, shape in shapes.items():
        without = {key: value for key, value in shapes.items() if key != name}
        for damaged in (without, {**without, f"{name}x": shape}, {**shapes, name: (*shape, 2)},
                        {**shapes, f"{name}.more": (3,)}):
            layout = recognise(damaged, hints)
            told = " ".join(map(str, compare(layout.expected, layout.optional, damaged)))
            assert layout.kind == "clip" and repr(name)[:-1] in told, (name, told[:200])


@pytest.mark.parametrize("names, what", [
    (["visual.trunk.stem.weight", "text.token_embedding.weight"], "timm"),
    (["visual.conv1.weight", "visual.attn_pool.query"], "pools by attention"),
    (["visual.conv1.weight", "text_decoder.resblocks.0.ln_1.weight"], "CoCa"),
    (["visual.conv1.weight", "text.cls_emb"], "CoCa"),
    (["visual.conv1.weight", "logit_bias"], "SigLIP"),
    (["visual.conv1.weight", "text.transformer.embeddings.word.weight"], "text tower of Hugging Face"),
    (["visual.conv1.weight", "text.text_projection.weight"], "layer with a bias"),
    (["visual.conv1.weight", "visual.transformer.resblocks.0.ls_1.gamma"], "scale"),
    (["visual.conv1.weight", "visual.transformer.resblocks.0.attn.ln_q.weight"], "attention"),
    (["visual.blocks.0.weight"], "EVA"),
    (["text_model.head.weight", "vision_model.head.probe"], "SigLIP")])
def test_relatives_are_refused_by_name(names, what):
    with pytest.raises(UserError, match=what):
        recognise(dict.fromkeys(names, (8, 8)))


def of_hugging_face(**config) -> Hints:
    text = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=64, max_position_embeddings=12,
                eos_token_id=63)
    vision = dict(hidden_size=64, num_hidden_layers=1, num_attention_heads=4, image_size=16, patch_size=8)
    base = dict(model_type="clip", projection_dim=16, text_config=text, vision_config=vision)
    for key, value in config.items():
        base[key] = {**base[key], **value} if isinstance(value, dict) and key in base else value
    return Hints(config=base)


@pytest.mark.parametrize("config, message", [
    (dict(text_config=dict(hidden_size=64)), "says transformer_width = 64, its tensors have 32"),
    (dict(projection_dim=32), "embed_dim = 32"), (dict(vision_config=dict(image_size=24)), "image_resolution = 24"),
    (dict(text_config=dict(hidden_act="gelu")), "hidden_act differs"),
    (dict(vision_config=dict(layer_norm_eps=1e-6)), "layer_norm_eps differs"),
    (dict(text_config=dict(hidden_act="gelu_new"), vision_config=dict(hidden_act="gelu_new")),
     "'gelu_new' is not supported"),
    (dict(text_config=dict(num_attention_heads=5)), "transformer_heads = 5 does not divide"),
    (dict(text_config=dict(eos_token_id=64)), "end token 64"),
    (dict(model_type="siglip"), "'siglip' model"), (dict(text_config_dict=dict(vocab_size=65)), "vocab_size = 65"),
    (dict(preprocessor_config=dict(image_mean=[1, 2, 3])), "image_mean"),
    (dict(preprocessor_config=dict(image_std=[0, 1, 1])), "image_std"),
    (dict(text_config="x"), "not a JSON object"),
    (dict(text_config=dict(num_attention_heads=True)), "transformer_heads"),
    (dict(text_config=dict(layer_norm_eps="x"), vision_config=dict(layer_norm_eps="x")), "eps")])
def test_a_configuration_that_does_not_fit_is_refused(config, message):
    with pytest.raises(UserError, match=message):
        recognise(huggingface.their_shapes(tensor_shapes(VIT)), of_hugging_face(**config))


@pytest.mark.parametrize("config, message", [
    (dict(vision_cfg=dict(pool_type="avg")), "vision_cfg.pool_type = avg"),
    (dict(text_cfg=dict(no_causal_mask=True)), "no_causal_mask"),
    (dict(text_cfg=dict(hf_tokenizer_name="bert")), "hf_tokenizer_name"),
    (dict(vision_cfg=dict(no_ln_pre=True)), "no_ln_pre"),
    (dict(multimodal_cfg={}), "multimodal_cfg"), (dict(init_logit_bias=-10), "init_logit_bias"),
    (dict(embed_dim=17), "embed_dim = 17"),
    (dict(vision_cfg=dict(image_size=[16, 24])), "only squares"),
    (dict(vision_cfg=dict(norm_kwargs=dict(eps=1e-6))), "norm_kwargs"),
    (dict(text_cfg=dict(act_kwargs=dict(approximate="tanh"))), "act_kwargs"),
    (dict(vision_cfg=dict(head_width=0)), "head_width"),
    (dict(vision_cfg=[]), "JSON objects")])
def test_openclips_settings_that_make_another_network_are_refused(config, message):
    base = dict(embed_dim=16, vision_cfg=dict(image_size=16, layers=1, width=64, patch_size=8),
                text_cfg=dict(context_length=12, vocab_size=64, width=32, heads=2, layers=2))
    assert recognise(tensor_shapes(VIT), Hints(config=dict(model_cfg=base))).config["activation"] == "gelu"
    for key, value in config.items():
        base[key] = {**base[key], **value} if isinstance(value, dict) and key in base else value
    with pytest.raises(UserError, match=message):
        recognise(tensor_shapes(VIT), Hints(config=dict(model_cfg=base)))


def test_a_foreign_vocabulary_is_refused():
    with pytest.raises(UserError, match="vocabulary has 250002 tokens"):
        recognise(tensor_shapes(dict(VIT, vocab_size=250_002)))


def test_what_hugging_faces_file_leaves_out_is_its_default():
    """Its program saves only what differs: a model of its default widths has a nearly empty configuration."""
    default = dict(VIT, embed_dim=512, transformer_width=512, transformer_layers=12, vocab_size=49408,
                   context_length=77, vision_width=768,
                   vision_layers=12, vision_patch_size=32, image_resolution=224)
    layout = recognise(huggingface.their_shapes(tensor_shapes(default)),
                       Hints(config=dict(model_type="clip", text_config={}, vision_config=None)))
    assert (layout.config["transformer_heads"], layout.config["vision_heads"],
            layout.config["end_token"]) == (8, 12, 49407)


# ---- back out, and our own files -----------------------------------------------------------------------------------
def test_our_clip_goes_out_under_hugging_faces_names_and_back(files):
    network = read_network(files / "open_clip")
    theirs, _ = read_safetensors(files / "huggingface" / "model.safetensors")
    out = huggingface.from_ours(network.tensors, network.layout.config)
    assert out.keys() == theirs.keys() and all(np.array_equal(value, theirs[name]) for name, value in out.items())
    back, _ = adopt(out, source="x")
    assert all(np.array_equal(value, network.tensors[name]) for name, value in back.items())
    with pytest.raises(UserError, match="no ResNet"):
        huggingface.from_ours(read_network(files / "openai_resnet.pt").tensors, {})


def test_a_converted_file_keeps_what_its_configuration_told(files, tmp_path):
    network = read_network(files / "huggingface_gelu")
    path = tmp_path / "clip.safetensors"
    write_safetensors(path, network.tensors, {"kind": "clip", "config": json.dumps(network.layout.config)})
    assert load_clip(path).config() == load_clip(files / "huggingface_gelu").config()
    for config, message in (({"activation": "swish"}, "swish"), ({"vision_width": 65}, "says vision_width = 65"),
                            ({"end_token": -1}, "end token"),
                            ({"eps": 0}, "eps"), ({"vision_heads": 3}, "vision_heads = 3"), ([], "not a JSON object")):
        write_safetensors(path, network.tensors, {"kind": "clip", "config": json.dumps(config)})
        with pytest.raises(UserError, match=message):
            load_clip(path)


# ---- against the libraries themselves ------------------------------------------------------------------------------
@pytest.mark.reference
def test_files_made_anew_with_other_weights(tmp_path):
    require_reference("torch", "transformers", "safetensors")
    run_reference("tests/parity/make_clip_fixtures.py", tmp_path, "--seed", 11, timeout=1200)
    traced = {f"traced/{name}.pt": (name, "openai", "quick_gelu") for name in ("openai_vit", "openai_resnet")}
    for file, (record, dialect, activation) in {**CASES, **traced}.items():
        assert check(tmp_path, file, record).config()["activation"] == activation


@pytest.mark.reference
def test_openclips_published_models_are_recognised_or_refused(tmp_path):
    """With their configuration everything is right; without it the head counts still are."""
    require_reference("torch", "transformers", "safetensors")
    run_reference("tests/parity/make_clip_fixtures.py", tmp_path, "--relatives", tmp_path / "names.json", timeout=1200)
    refused = set()
    for name, model in json.loads((tmp_path / "names.json").read_text()).items():
        shapes = {key: tuple(shape) for key, shape in model["shapes"].items()}
        try:
            told, bare = recognise(shapes, Hints(config=dict(model_cfg=model["config"]))), recognise(shapes)
        except UserError:
            refused.add(name)
            continue
        assert not compare(told.expected, told.optional, shapes) and not compare(bare.expected, bare.optional,
                                                                                 shapes), name
        assert told.config["activation"] == ("quick_gelu" if model["config"].get("quick_gelu") else "gelu")
        assert image_heads(bare.config) == image_heads(told.config)
        assert bare.config["transformer_heads"] == told.config["transformer_heads"]
    assert refused == {"ViT-M-16-alt", "ViT-L-14-CLIPA", "ViT-H-14-worldwide", "coca_ViT-B-32", "ViT-B-16-SigLIP",
                       "convnext_base", "EVA02-B-16",
                       "MobileCLIP-B"}


def image_heads(config: dict) -> int:
    """Heads of the image tower, as `Clip` counts them."""
    wide = 1 if isinstance(config["vision_layers"], int) else 32
    return config.get("vision_heads") or max(1, config["vision_width"] * wide // 64)


def test_odd_shapes_and_configurations_raise_nothing_else():
    """Random shapes and JSON values in place of what is expected: a layout or a UserError."""
    rng = np.random.default_rng(0)
    odd_shapes = [(), (0,), (1,), (7, 0), (3, 5, 7), (1, 2, 3, 4, 5), (2**40,), (2**40, 3, 1, 1)]
    odd_values = [None, True, 0, -1, 3.5, 2**70, "x", [], [1], {}, {"eps": []}, [[1], [1]], float("nan")]
    configs = [of_hugging_face().config, dict(model_cfg=dict(embed_dim=16, quick_gelu=True, vision_cfg=dict(
        image_size=16, layers=1, width=64, patch_size=8, head_width=16, norm_kwargs={}),
                                                             text_cfg=dict(context_length=12, width=32, heads=2)),
        preprocess_cfg=dict(mean=[0, 0, 0], std=[1, 1, 1]))]
    resnet = tensor_shapes(dict(VIT, image_resolution=32, vision_layers=(1, 1, 1, 1), vision_width=4,
                                vision_patch_size=None))
    read = 0
    for _ in range(1000):
        base, _ = list(dialects().values())[rng.integers(3)]
        shapes = dict(base if rng.integers(4) else resnet)
        for name in rng.choice(list(shapes), rng.integers(4)):
            shapes[str(name)] = odd_shapes[rng.integers(len(odd_shapes))]
        if rng.integers(4) == 0:
            shapes["token_embedding.rows"] = odd_shapes[rng.integers(len(odd_shapes))]
        config = json.loads(json.dumps(configs[rng.integers(2)] if rng.integers(4) else {}))
        for _ in range(rng.integers(3)):
            part = config
            while part and rng.integers(3) and isinstance(inner := part[list(part)[rng.integers(len(part))]], dict):
                part = inner
            if part:
                part[list(part)[rng.integers(len(part))]] = odd_values[rng.integers(len(odd_values))]
        metadata = {"kind": "clip", "config": json.dumps({key: odd_values[rng.integers(len(odd_values))] for key in
                                                          rng.choice(["eps", "vocab_size", "vision_heads", "end_token",
                                                                      "image_std"], rng.integers(3))})}
        try:
            layout = recognise(shapes, Hints(config=config, metadata=metadata if rng.integers(2) else {}))
            compare(layout.expected, layout.optional, shapes, limit=1)
            read += 1
        except UserError:
            pass
    assert 200 < read < 800, read       # neither is everything refused nor everything let through

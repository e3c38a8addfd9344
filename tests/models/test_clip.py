"""CLIP beyond the recorded numbers: initial values, configurations, both towers in training, the library."""
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jittor_ipl import clip as library
from jittor_ipl.errors import UserError
from jittor_ipl.images.centre import normalised_centre
from jittor_ipl.models.clip.config import MEAN, STD, ClipConfig
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.strict import named_tensors, numpy_tensors
from jittor_ipl.ops.norms import cross_entropy, unit
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.environment import settings
from jittor_ipl.train.optim import Adam
from jittor_ipl.weights.clip import load_clip
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.families.clip.shapes import infer_config

TEXT = dict(embed_dim=32, context_length=12, vocab_size=50, transformer_width=64, transformer_heads=2,
            transformer_layers=2)
VIT = dict(TEXT, image_resolution=32, vision_layers=2, vision_width=64, vision_patch_size=8)
RESNET = dict(TEXT, image_resolution=32, vision_layers=(1, 1, 1, 1), vision_width=16, norm="group")
TOKENS = np.array([[48, 5, 6, 7, 49, 0, 0, 0], [48, 9, 49, 0, 0, 0, 0, 0]], np.int32)


def made(config: dict, seed: int = 0) -> Clip:
    return Clip(ClipConfig(**config)).initialise(np.random.default_rng(seed))


def images(count: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (count, 3, size, size)).astype(np.float32)


def close(a, b, limit=1e-5):
    a, b = (v.numpy() if isinstance(v, jt.Var) else v for v in (a, b))
    worst = np.abs(a - b).max() / np.abs(b).max()
    print(f"relative error {worst:.1e} (limit {limit:.0e})")
    assert worst <= limit


@pytest.fixture(scope="module")
def vit():
    return made(VIT)


@pytest.fixture(scope="module")
def resnet():
    return made(RESNET)


# ---- configuration and state ----------------------------------------------------------------------------------
@pytest.mark.parametrize("config", [VIT, RESNET, dict(RESNET, norm="batch")], ids=["vit", "group", "batch"])
def test_configuration_survives_json_and_is_read_from_the_shapes(config):
    model = made(config)
    assert ClipConfig(**json.loads(json.dumps(model.config()))) == model.settings
    shapes = {name: value.shape for name, value in numpy_tensors(model).items()}
    assert ClipConfig(**{**infer_config(shapes, "x"), "transformer_heads": 2}) == model.settings


def test_half_precision_archives_are_widened_and_their_extras_left_out(tmp_path, vit):
    tensors = {name: value.astype(np.float16) for name, value in numpy_tensors(vit).items()}
    tensors.update(input_resolution=np.array(32), context_length=np.array(12), vocab_size=np.array(50))
    tensors["logit_scale"] = tensors["logit_scale"].reshape(())
    write_safetensors(tmp_path / "half.safetensors", tensors, {"kind": "clip", "config": '{"transformer_heads": 2}'})
    model = load_clip(tmp_path / "half.safetensors")
    assert {str(var.dtype) for var in named_tensors(model).values()} == {"float32"}
    close(model.encode_text(TOKENS), vit.encode_text(TOKENS), 1e-2)


def test_foreign_and_incomplete_tensors_are_refused(tmp_path, vit):
    with pytest.raises(UserError, match="some.pt is not a CLIP.*ln_final.weight"):
        infer_config({"conv.weight": (3,)}, "some.pt")
    tensors = numpy_tensors(vit)
    del tensors["visual.ln_post.bias"]
    write_safetensors(tmp_path / "damaged.safetensors", tensors)
    with pytest.raises(UserError, match="visual.ln_post.bias"):
        load_clip(tmp_path / "damaged.safetensors")


def test_initialisation_is_openais_and_a_function_of_the_generator():
    model = numpy_tensors(made(dict(VIT, vocab_size=2000, transformer_width=128)))
    again = numpy_tensors(made(dict(VIT, vocab_size=2000, transformer_width=128)))
    other = numpy_tensors(made(dict(VIT, vocab_size=2000, transformer_width=128), seed=1))
    assert all(np.array_equal(model[name], again[name]) for name in model)
    assert not np.array_equal(model["text_projection"], other["text_projection"])
    block = "transformer.resblocks.1."
    for name, std in {"token_embedding.weight": .02, "positional_embedding": .01, "text_projection": 128 ** -.5,
                      "visual.proj": 64 ** -.5, block + "attn.in_proj_weight": 128 ** -.5,
                      block + "attn.out_proj.weight": (128 * 4) ** -.5, block + "mlp.c_fc.weight": 256 ** -.5,
                      block + "mlp.c_proj.weight": (128 * 4) ** -.5, "visual.conv1.weight": (3 * 192) ** -.5}.items():
        # NumPy's draws, the same on every machine; 1,024 of them, the fewest, estimate a deviation to 2.2 %.
        assert abs(model[name].std() / std - 1) < .05, name
    assert model["logit_scale"] == np.float32(math.log(1 / .07))
    assert not model[block + "attn.in_proj_bias"].any() and (model["ln_final.weight"] == 1).all()


def test_every_residual_branch_of_the_resnet_starts_at_zero():
    tensors = numpy_tensors(made(dict(RESNET, norm="batch")))
    assert not tensors["visual.layer2.0.bn3.weight"].any() and (tensors["visual.bn3.weight"] == 1).all()
    assert (tensors["visual.bn1.running_var"] == 1).all() and not tensors["visual.bn1.running_mean"].any()


# ---- text -----------------------------------------------------------------------------------------------------
def test_text_features_do_not_depend_on_padding_or_company(vit):
    together = vit.encode_text(TOKENS).numpy()
    padded = np.concatenate([TOKENS, np.zeros((2, 4), np.int32)], axis=1)
    close(vit.encode_text(padded), together)
    close(vit.encode_text(TOKENS[1]), together[1:])


def test_own_embeddings_as_context_change_nothing(vit):
    embedded = vit.token_embedding(TOKENS[:1, 1:3])
    context = embedded.broadcast([3, 2, 64])
    close(vit.encode_prompts(context, TOKENS[0]), np.repeat(vit.encode_text(TOKENS[:1]).numpy(), 3, axis=0))


def test_each_context_is_heard_alone_and_differentiably(vit):
    context = jt.array(np.random.default_rng(2).standard_normal((3, 2, 64)).astype(np.float32))
    features = vit.encode_prompts(context, TOKENS[0])
    close(vit.encode_prompts(context[1:2], TOKENS[0]), features.numpy()[1:2])
    grad = jt.grad(features[2].sum(), context).numpy()
    assert not grad[:2].any() and np.abs(grad[2]).max() > 0


def test_wrong_calls_fail_early(vit):
    for tokens in (np.zeros((1, 13), np.int32), np.array([[48, 50]]), np.array([[.5]])):
        with pytest.raises(AssertionError):
            vit.encode_text(tokens)
    with pytest.raises(AssertionError, match="end token"):
        vit.encode_prompts(jt.zeros([1, 4, 64]), TOKENS[0])
    with pytest.raises(AssertionError):
        vit.preprocess(jt.zeros([1, 1, 32, 32]))


# ---- images ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("antialias", [False, True])
def test_preprocess_keeps_the_centre_of_a_wide_image(vit, antialias):
    wide = images(1, 64).repeat(2, axis=3)[:, :, :, :100]
    whole = vit.preprocess(jt.array(wide), antialias).numpy()
    assert whole.shape == (1, 3, 32, 32)
    square = vit.preprocess(jt.array(np.ascontiguousarray(wide[:, :, :, 18:82])), antialias).numpy()
    close(whole[..., 4:-4], square[..., 4:-4], 1e-4)      # borders differ: the wide image goes on there


def test_preprocess_of_a_fitting_image_is_the_normalisation_alone(vit):
    x = images(2)
    close(vit.preprocess(jt.array(x)), ((x + 1) / 2 - MEAN.reshape(1, 3, 1, 1)) / STD.reshape(1, 3, 1, 1), 1e-6)


def test_features_do_not_depend_on_the_batch(vit, resnet):
    for model in (vit, resnet):
        x = images(3)
        close(model.image_features(jt.array(x[1:2])), model.image_features(jt.array(x)).numpy()[1:2])


def test_the_logits_factor_never_exceeds_one_hundred(vit):
    vit.logit_scale.assign(jt.array(np.array([9.], np.float32)))
    assert abs(vit.scale().item() - 100) < 1e-3
    vit.logit_scale.assign(jt.array(np.array([math.log(1 / .07)], np.float32)))
    assert abs(vit.scale().item() - 1 / .07) < 1e-3


# ---- training -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("config", [VIT, RESNET], ids=["vit", "resnet"])
def test_learns_to_tell_images_apart_and_every_parameter_moves(config):
    model = made(config)
    hue = np.random.default_rng(3).uniform(-1, 1, (6, 3, 1, 1)).astype(np.float32)
    x, target = jt.array(hue + .1 * images(6)), jt.array(np.arange(6, dtype=np.int32))
    tokens = np.array([[48, word, word + 10, 49] for word in range(1, 7)], np.int32)
    parameters, start = named_tensors(model), numpy_tensors(model)
    adam, losses = Adam(parameters, lr=2e-3), []
    for _ in range(30):
        image, words = unit(model.image_features(x)), unit(model.encode_text(tokens))
        logits = jt.matmul(image, words.transpose(0, 1)) * model.scale()
        loss = cross_entropy(logits, target) + cross_entropy(logits.transpose(0, 1), target)
        adam.step(dict(zip(parameters, jt.grad(loss, list(parameters.values())))))
        losses.append(loss.item())
    print(f"loss {losses[0]:.2f} -> {losses[-1]:.3f}")
    assert losses[-1] < .3 * losses[0]
    end = numpy_tensors(model)
    still = [name for name in end if np.array_equal(end[name], start[name])]
    assert not still and all(np.isfinite(value).all() for value in end.values()), still


# ---- the library ----------------------------------------------------------------------------------------------
def test_load_by_path_and_compare_as_with_jclip(tmp_path, vit):
    config = json.dumps(vit.config())
    write_safetensors(tmp_path / "tiny.safetensors", numpy_tensors(vit), {"kind": "clip", "config": config})
    model, preprocess = library.load(tmp_path / "tiny.safetensors")
    picture = preprocess(Image.fromarray(np.full((40, 60, 3), 200, np.uint8))).unsqueeze(0)
    assert tuple(picture.shape) == (1, 3, 32, 32)
    per_image, per_text = model(picture, TOKENS)
    assert tuple(per_image.shape) == (1, 2) and np.array_equal(per_text.numpy(), per_image.numpy().T)
    cosine = unit(model.encode_image(picture)).numpy() @ unit(model.encode_text(TOKENS)).numpy().T
    close(per_image, cosine * model.scale().item())


# How users of either library write: with Jittor for PyTorch, and this module for theirs.
LIKE_OPENAI = """
import jittor as torch
from PIL import Image
from jittor_ipl import clip

device = "cuda" if torch.has_cuda and torch.flags.use_cuda else "cpu"
model, preprocess = clip.load("demo:clip-local", device, jit=False, download_root="~/.cache/clip")
model = model.to(device).float().eval()
names = ["photo", "sketch"]
texts = torch.cat([clip.tokenize(f"a {name}") for name in names]).to(device)
image = preprocess(Image.new("RGB", (80, 64), (90, 60, 30))).unsqueeze(0).to(device)
assert tuple(image.shape[2:]) == (model.visual.input_resolution,) * 2 and texts.shape[1] == model.context_length
with torch.no_grad():
    image_features = model.encode_image(image.to(model.dtype))
    text_features = model.encode_text(texts)
image_features /= image_features.norm(dim=-1, keepdim=True)
text_features /= text_features.norm(dim=-1, keepdim=True)
similarity = (model.logit_scale.exp() * image_features @ text_features.transpose(0, 1)).softmax(dim=-1)
values, indices = similarity[0].topk(2)
print("probabilities", *similarity.cpu().numpy()[0].tolist())
assert sorted(names[int(i)] for i in indices.numpy()) == names and "demo:clip-local" in clip.available_models()
"""
LIKE_JCLIP = """
import jittor as jt
import jittor_ipl.clip as clip
from PIL import Image

jt.flags.use_cuda = 0
model, preprocess = clip.load("demo:clip-local")
image = preprocess(Image.new("RGB", (80, 64), (90, 60, 30))).unsqueeze(0)
text = clip.tokenize(["a photo", "a sketch"], context_length=77, truncate=True)
assert isinstance(text, jt.Var) and str(text.dtype) == "int32"
with jt.no_grad():
    per_image, per_text = model(image, text)
    print("probabilities", *per_image.softmax(dim=-1).numpy()[0].tolist())
"""


def test_scripts_written_for_openais_clip_and_for_jclip_run(tmp_path):
    found = []
    # with these settings Jittor itself can be imported on this machine
    environment = {**os.environ, **settings("cpu"), "PYTHONPATH": str(Path(library.__file__).parents[1])}
    for script in (LIKE_OPENAI, LIKE_JCLIP):
        (tmp_path / "script.py").write_text(script)
        done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300,
                              env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        found.append([float(word) for word in done.stdout.split("probabilities")[1].split()])
    assert np.allclose(*found, atol=1e-6) and 0.01 < found[0][0] < 0.99, found


@pytest.mark.parametrize("call, message", [
    (dict(device="cuda:0"), "JITTOR_IPL_DEVICE=cuda"), (dict(device="gelu"), "choose cpu or cuda"),
    (dict(name="RN50", download_root="elsewhere"), "nothing is downloaded; looked for elsewhere/RN50"),
    (dict(name="vit"), "give the path of a file, or one of RN50"), (dict(activation="relu"), "quick_gelu or gelu")])
def test_a_wrong_call_of_load_is_one_line_with_the_cure(call, message):
    with pytest.raises(UserError, match=message) as caught:
        library.load(**{"name": "demo:clip-local", **call})
    assert "\n" not in str(caught.value)


def test_files_are_found_under_openais_and_jclips_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UserError, match="weights/ViT-L-14-336px.*cache/jittor_ipl/clip"):
        library.find("ViT-L/14@336px")
    folder = tmp_path / ".cache" / "jittor_ipl" / "clip"
    folder.mkdir(parents=True)
    (folder / "ViT-B-32.pkl").write_bytes(b"")
    assert library.find("ViT-B/32") == str(folder / "ViT-B-32.pkl")
    with pytest.raises(UserError, match="did you mean 'ViT-B/32'"):
        library.find("ViT-B32")
    assert set(library.MODELS) < {*library.available_models(), "demo:"}


def test_image_files_go_through_pillows_filter():
    pixels = np.random.default_rng(4).integers(0, 256, (50, 90, 4), dtype=np.uint8)
    picture = Image.fromarray(pixels, "RGBA")
    resized = picture.resize((57, 32), Image.Resampling.BICUBIC).crop((12, 0, 44, 32)).convert("RGB")
    expected = (np.asarray(resized, np.float32).transpose(2, 0, 1) / 255 - MEAN[:, None, None]) / STD[:, None, None]
    assert np.allclose(normalised_centre(picture, 32, 32, MEAN, STD), expected, atol=1e-6)

"""Parity with OpenAI's CLIP as the official IPL code uses it: tokens, features, logits, gradient, templates, prompts."""
from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import golden  # noqa: E402

from jittor_ipl.ops.norms import unit  # noqa: E402
from jittor_ipl.runtime.backend import jt  # noqa: E402
from jittor_ipl.text.tokenizer import class_prompts, fill_templates, tokenize  # noqa: E402

FORWARD, GRADIENT = 1e-4, 1e-3


@pytest.fixture(scope="module")
def record():
    return golden.record("clip")


@pytest.fixture(scope="module")
def vit():
    return golden.clip("vit")


@pytest.fixture(scope="module")
def resnet():
    return golden.clip("rn")


def check(name, ours, reference, limit=FORWARD):
    golden.report(name, golden.error(ours, reference), limit)


def test_tokens(record):
    assert np.array_equal(tokenize([str(t) for t in record["texts"]], checked=False), record["tokens"])


@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_config_is_inferred(kind, request):
    about = json.loads((golden.GOLDEN / "clip.json").read_text())
    config = request.getfixturevalue("vit" if kind == "vit" else "resnet").config()
    assert {name: config[name] for name in about[kind]} == about[kind]


def test_preprocess(record, vit):
    check("preprocess", vit.preprocess(jt.array(record["src"])), record["preprocessed"])


def test_image_features(record, vit):
    check("ViT image features", vit.image_features(jt.array(record["src"])), record["image_features"])


def test_resnet_image_features(record, resnet):
    check("ResNet image features", resnet.image_features(jt.array(record["src"])), record["rn_image_features"])


def test_text_features(record, vit):
    check("text features", vit.encode_text(record["tokens"]), record["text_features"])


def test_logits(record, vit):
    per_image, per_text = vit(vit.preprocess(jt.array(record["src"])), record["tokens"])
    check("logits", per_image, record["logits_per_image"])
    assert np.array_equal(per_text.numpy(), per_image.numpy().T)


def test_gradient_to_the_image(record, vit):
    images = jt.array(record["dst"])
    grad = jt.grad((vit.image_features(images) * jt.array(record["cot"])).sum(), images)
    check("gradient to the image", grad, record["grad_dst"], GRADIENT)


@pytest.mark.parametrize("name, key", [("photo", "templates_source"), ("disney", "templates_target")])
def test_templates_in_their_order(vit, name, key):
    check(key, unit(vit.encode_text(tokenize(fill_templates(name)))), golden.record("losses")[key])


@pytest.mark.parametrize("name, key", [("photo", "source_text_features"), ("disney", "target_text_features")])
def test_prompts_with_context_vectors(vit, name, key):
    stage1 = golden.record("stage1")
    prompt = class_prompts(name, "a photo of a")
    check(key, vit.encode_prompts(jt.array(stage1["prompts"]), prompt.tokens()), stage1[key][:, 0])

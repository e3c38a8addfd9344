"""Parity with OpenAI's CLIP as the official IPL code uses it: tokens, features, logits, gradient, templates,
prompts.
"""
from __future__ import annotations

import json

import golden
import numpy as np
import pytest

from jittor_ipl.ops.norms import unit
from jittor_ipl.runtime.backend import jt
from jittor_ipl.text.tokenizer import class_prompts, fill_templates, tokenize

FORWARD, GRADIENT = 1e-4, 1e-4     # the most, whatever PyTorch's own distance


@pytest.fixture(scope="module")
def record():
    return golden.Reference("clip")


@pytest.fixture(scope="module")
def vit():
    return golden.clip("vit")


@pytest.fixture(scope="module")
def resnet():
    return golden.clip("rn")


def test_tokens(record):
    assert np.array_equal(tokenize([str(t) for t in record["texts"]], checked=False), record["tokens"])


@pytest.mark.parametrize("kind", ["vit", "rn"])
def test_config_is_inferred(kind, request):
    about = json.loads((golden.GOLDEN / "clip.json").read_text())
    config = request.getfixturevalue("vit" if kind == "vit" else "resnet").config()
    assert {name: config[name] for name in about[kind]} == about[kind]


def test_preprocess(record, vit):
    record.check("preprocessed", vit.preprocess(jt.array(record["src"])), FORWARD)


def test_image_features(record, vit):
    record.check("image_features", vit.image_features(jt.array(record["src"])), FORWARD)


def test_resnet_image_features(record, resnet):
    record.check("rn_image_features", resnet.image_features(jt.array(record["src"])), FORWARD)


def test_text_features(record, vit):
    record.check("text_features", vit.encode_text(record["tokens"]), FORWARD)


def test_logits(record, vit):
    per_image, per_text = vit(vit.preprocess(jt.array(record["src"])), record["tokens"])
    record.check("logits_per_image", per_image, FORWARD)
    assert np.array_equal(per_text.numpy(), per_image.numpy().T)


def test_gradient_to_the_image(record, vit):
    images = jt.array(record["dst"])
    grad = jt.grad((vit.image_features(images) * jt.array(record["cot"])).sum(), images)
    record.check("grad_dst", grad, GRADIENT)


@pytest.mark.parametrize("name, key", [("photo", "templates_source"), ("disney", "templates_target")])
def test_templates_in_their_order(vit, name, key):
    golden.Reference("losses").check(key, unit(vit.encode_text(tokenize(fill_templates(name)))), FORWARD)


@pytest.mark.parametrize("name, key", [("photo", "source_text_features"), ("disney", "target_text_features")])
def test_prompts_with_context_vectors(vit, name, key):
    stage1 = golden.Reference("stage1")
    prompt = class_prompts(name, "a photo of a")
    stage1.check(key, vit.encode_prompts(jt.array(stage1["prompts"]), prompt.tokens()), FORWARD)

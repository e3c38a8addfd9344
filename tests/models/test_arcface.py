"""The face recogniser against its PyTorch description, on shared weights."""
from __future__ import annotations

import numpy as np
from feature_records import SEED, agree, fill, filled, normalised, record, summary

from jittor_ipl.models.features.arcface import Backbone
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.families.features import arcface as family

RECORD = record()
IR101 = {"layers": 100, "squeeze": False, "affine": False}


def test_ir_se50_and_its_gradient() -> None:
    model = filled(Backbone())
    images = normalised(fill.pictures(2, 300, 280, SEED + 3))
    vectors = model.embed(images)
    agree("vectors", vectors.numpy(), RECORD["arcface/embed"])
    np.testing.assert_allclose(np.linalg.norm(vectors.numpy(), axis=1), 1, rtol=1e-5)
    gradient = jt.grad((vectors[0] * vectors[1]).sum(), images)
    agree("gradient", summary(gradient), RECORD["arcface/gradient"].astype(np.float64), 1e-3)


def test_ir_101() -> None:
    with jt.no_grad():
        vectors = filled(Backbone(**IR101))(normalised(fill.pictures(1, 112, 112, SEED + 4)))
    agree("vectors", vectors.numpy(), RECORD["arcface/ir101"])


def test_names_and_shapes_are_the_published_ones() -> None:
    for numbers in ({}, IR101, {"layers": 152, "width": 16, "input_size": 224, "features": 8}):
        usual = {"layers": 50, "squeeze": True, "width": 64, "input_size": 112, "features": 512, "affine": True}
        shapes = {name: tuple(var.shape) for name, var in named_tensors(Backbone(**usual | numbers)).items()}
        assert shapes == family.schema(usual | numbers)

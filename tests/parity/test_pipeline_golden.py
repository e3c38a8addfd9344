"""Whole pictures from prompts, with guidance and from start pictures, against diffusers (tests/golden/pipeline.npz)."""
from __future__ import annotations

import numpy as np
import pipeline_cases as cases
import pytest
from fixture_files import unpack
from golden import GOLDEN, record, report
from reference import run_reference

from jittor_ipl.config.lora import Sampling, StyleId
from jittor_ipl.diffusion import pipeline, style_id
from jittor_ipl.diffusion.style_aligned import StyleReference
from jittor_ipl.weights.diffusion import load_diffusion


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_diffusion(unpack(tmp_path_factory.mktemp("diffusion"), "diffusion") / "pipeline")


@pytest.fixture(scope="module")
def kept() -> dict[str, np.ndarray]:
    return record("pipeline")


@pytest.mark.parametrize("case", cases.CASES, ids=lambda case: case.name)
def test_a_picture(case, kept, model, monkeypatch):
    monkeypatch.setattr(pipeline, "first_noise", lambda seed, shape: cases.draw("z"))
    monkeypatch.setattr(pipeline, "step_noise", lambda seed, shape, step: cases.draw("fresh"))
    monkeypatch.setattr(pipeline, "to_uint8", lambda picture: np.clip(picture, -1, 1))
    sampling = Sampling(sampler=case.sampler, steps=case.steps, guidance=case.guidance, negative=case.negative,
                        strength=case.strength or 0.9)
    ours, = pipeline.generate(model, [case.prompt], [0], sampling,
                              pictures=cases.draw("picture") if case.strength else None)
    report(case.name, float(np.abs(ours - kept[case.name]).max()), 1e-4)     # of values in [-1, 1]


def test_style_id(model, monkeypatch):
    monkeypatch.setattr(style_id, "to_uint8", lambda picture: np.clip(picture, -1, 1))
    settings = StyleId(gamma=0.75, temperature=1.5, layers=2, steps=6)
    ours, = style_id.restyle(model, cases.draw("picture"), cases.draw("style"), settings)
    report("StyleID", float(np.abs(ours - record("attention")["style_id"]).max()), 2e-4)


def test_style_aligned(model, monkeypatch):
    monkeypatch.setattr(pipeline, "first_noise", lambda seed, shape: cases.draw("z"))
    monkeypatch.setattr(pipeline, "to_uint8", lambda picture: np.clip(picture, -1, 1))
    ours, = pipeline.generate(model, ["a a"], [0], Sampling(sampler="ddim", steps=6, guidance=3.0),
                              reference=StyleReference(cases.draw("style"), "a ring"))
    report("StyleAligned", float(np.abs(ours - record("attention")["style_aligned"]).max()), 1e-4)


@pytest.mark.reference
@pytest.mark.parametrize("name", ["pipeline", "attention"])
def test_the_record_is_what_diffusers_says(name):
    print("largest difference", run_reference(f"tests/parity/record_{name}.py", "--check", GOLDEN / f"{name}.npz"))

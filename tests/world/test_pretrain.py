"""Every part of the pretraining runs, stops, goes on to the same bits, and writes an asset that loads."""
import json

import numpy as np
import pytest

from jittor_ipl.models.strict import named_tensors
from jittor_ipl.weights.containers.safetensors import read_safetensors
from jittor_ipl.weights.diffusion import load_diffusion
from jittor_ipl.world.teaching import pretrain

ON_THE_WAY = ("clip-plain", "diffusion-decoder", "pets-decoder")    # other parts make them first


@pytest.mark.parametrize("part", [part for part in pretrain.PARTS if part not in ON_THE_WAY])
def test_a_trial_of_every_part(part, tmp_path_factory):
    work = tmp_path_factory.getbasetemp() / "pretrain"      # the pools are rendered once for all parts
    assets = work / "assets"
    before = {"diffusion-all": ["diffusion"]}.get(part, ["clip-plain"] if part.startswith("clip") else [])
    parts = [*before, part]
    pretrain.main([*parts, "--work", str(work), "--assets", str(assets), "--scale", "0.001"])
    assert not (assets / "clip-plain.safetensors").exists()
    figures = json.loads((work / part / "report.json").read_text())
    assert figures["seconds"] > 0
    if part.startswith("diffusion"):
        model = load_diffusion(assets / part)
        assert model.size == 64 and all(np.isfinite(var.numpy()).all() for var in named_tensors(model.unet).values())
        return
    folder = work / part if part == "clip-fine" else assets        # a step on the way
    tensors, metadata = read_safetensors(folder / f"{part}.safetensors")
    assert metadata["kind"] in ("judge", "clip", "stylegan2", "compact-encoder", "lora")
    assert all(np.isfinite(tensor).all() for tensor in tensors.values())


def test_a_stopped_part_goes_on_to_the_same_bits():
    from jittor_ipl.train.state import Loop
    from jittor_ipl.world.teaching import pool, pretrain_judge
    faces = pool.build(1, "test", 16)
    recipe = pretrain_judge.JudgeRecipe("structure", 8, 4, batch=8)
    kept = {}

    def keep(step, metrics, state):
        kept[step] = state()
    pretrain_judge.train(recipe, faces, Loop(on_step=keep))
    straight = dict(kept)
    pretrain_judge.train(recipe, faces, Loop(2, straight[2], keep))
    assert all(np.array_equal(straight[4][name], kept[4][name]) for name in straight[4])

"""Four steps of the official mapper training: prompts, features, first gradients, losses and final weights."""
from types import SimpleNamespace

import golden
import numpy as np
import pytest

from jittor_ipl.adaptation import directions, listeners, stage1
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.runtime.backend import jt
from jittor_ipl.text.tokenizer import class_prompts
from jittor_ipl.train import optim
from jittor_ipl.train.state import Loop


@pytest.fixture(scope="module")
def world():
    record, clip = golden.Reference("stage1"), golden.clip("vit")
    prompts = directions.Prompts(clip, *(class_prompts(name, "a photo of a") for name in ("photo", "disney")))
    return record, golden.generator(), clip, prompts, listeners.listen(clip, 1.0, "photo", "disney")


def test_prompts_and_features(world):
    record, generator, _, prompts, _ = world
    context = golden.mapper()(generator.mapping(jt.array(record["z"][0])))
    record.check("prompts", context, 1e-4)
    for name, value in zip(("source", "target"), prompts.learned(context)):
        record.check(f"{name}_text_features", value, 1e-4)


def test_training(world, monkeypatch):
    record, generator, _, prompts, listener = world
    mapper, first, seen = golden.mapper(), {}, []

    class Watched(optim.Adam):
        def step(self, grads, lr=None):
            first.update({name: grad.numpy() for name, grad in grads.items()} if not first else {})
            super().step(grads, lr)

    monkeypatch.setattr(stage1, "Adam", Watched)
    settings = SimpleNamespace(steps=4, batch=6, lr=float(record["lr"]), lambda_domain=float(record["lambda_l"]),
                               lambda_source=float(record["lambda_src"]), lambda_prompts=0.0,
                               replace_domain=False, mixing=0.0)
    stage1.train_mapper(generator, mapper, prompts, listener, settings, seed=0, noise="const",
                        draw_z=lambda step: record["z"][step],
                        loop=Loop(on_step=lambda step, metrics, _: seen.append(metrics["loss"])))
    golden.check_gradients(record, first, 1e-4)
    record.check("losses", np.float32(seen), 2e-3)
    for name, var in named_tensors(mapper).items():
        record.check(f"final/{name}", golden.summary(var.numpy()), 2e-3)

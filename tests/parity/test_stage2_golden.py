"""Three steps of the official generator training with layer choice: layers, first gradients, losses, images, average."""
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import golden  # noqa: E402

from jittor_ipl.runtime.backend import jt  # noqa: E402
from jittor_ipl.train import directions, optim, stage2  # noqa: E402
from jittor_ipl.weights.strict import load_into, named_tensors  # noqa: E402

GROUPS = ("mapping", "convs", "rgb", "const", "noise")


class Recorded(directions.Prompts):
    """Gives the recorded text features of each step in place of the mapper's."""

    def __init__(self, record, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.steps = iter(zip(record["source_text_features"], record["target_text_features"]))

    def learned(self, context):
        return tuple(jt.array(features[:, 0]) for features in next(self.steps))


class RecordedDraws(stage2.Draws):
    def __init__(self, record, *args):
        super().__init__(0, *args)
        self.record = record

    def z(self, step, index=0):
        return self.record["z"][step]

    def z_layers(self, step):
        return self.record["z_layers"][step]


def test_training(monkeypatch):
    record, clip = golden.record("stage2"), golden.clip("vit")
    source, target = golden.generator(), golden.generator(golden.fill.generator_stage2)
    beta2 = float(record["beta2"])
    settings = SimpleNamespace(
        steps=3, batch=2, schedule="constant", ema=0.99, mixing=0.0, noise="const", layers="auto", auto_layers_k=5,
        auto_layers_batch=4, auto_layers_iters=1, auto_layers_every=1, train=GROUPS, views=0, view_scale=1.0,
        direction_floor=0.0, adam=lambda: (float(record["lr"]), (0.0, beta2)))
    weights = SimpleNamespace(directional=1.0, global_=0.0, manifold=0.0, texture=0.0, patch=0.0, range=0.0)
    prompts = Recorded(record, clip, 4, "a photo of a", "photo", "disney", official=True)
    first, seen, chosen = {}, [], []

    class Watched(optim.Adam):
        def step(self, grads, lr=None):
            first.update({name: grad.numpy() for name, grad in grads.items()} if not first else {})
            super().step(grads, lr)

    monkeypatch.setattr(stage2, "Adam", Watched)

    def watch(step, told, state):
        seen.append(told["loss"])
        chosen.append(state()["chosen_layers"])

    average = stage2.train_generator(
        source, target, [directions.listen(clip, 1.0, "photo", "disney")], settings, weights, seed=0, prompts=prompts,
        mapper=lambda w: w, official=True, draws=RecordedDraws(record, source, settings), on_step=watch)

    assert np.array_equal(chosen, record["chosen_layers"]), (chosen, record["chosen_layers"])
    recorded = {name.removeprefix("grad/") for name in record if name.startswith("grad/")}
    assert set(first) == recorded, set(first) ^ recorded
    for name, grad in first.items():
        golden.report(f"gradient {name}", golden.error(golden.summary(grad), record[f"grad/{name}"]), 1e-3)
    golden.report("losses", golden.error(np.float32(seen), record["losses"]), 2e-3)
    w = source.mapping(jt.array(record["z"][0]))
    golden.report("image_final", golden.error(target.synthesis(w), record["image_final"]), 2e-3)
    load_into(target, {**{k: v.numpy() for k, v in named_tensors(target).items()}, **average}, source="average")
    golden.report("image_ema_final", golden.error(target.synthesis(w), record["image_ema_final"]), 2e-3)

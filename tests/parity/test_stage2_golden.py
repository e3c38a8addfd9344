"""Three steps of the official generator training with layer choice: layers, first gradients, losses, images, average.

The record was made on a CPU, where the original compares the moved latents with an alias of themselves
(`torch.Tensor(array)` shares the array's memory): every score is 0, and the order in which torch.topk leaves ties
decides. On a GPU the copy breaks the alias and the scores are real. This project always uses the real scores; here they
are replaced by the zeros of the record, and the choice must then be the recorded one.
"""
from types import SimpleNamespace

import generator64
import golden
import numpy as np

from jittor_ipl.adaptation import directions, layers, listeners, stage2
from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.runtime.backend import jt
from jittor_ipl.text.tokenizer import class_prompts
from jittor_ipl.train import optim
from jittor_ipl.train.state import Loop


def topk_of_ties(n: int, k: int) -> list[int]:
    """Return the indices of torch.topk(zeros(n), k) on a CPU for n <= 16: libstdc++'s nth_element swaps equals too."""
    order, first, last = list(range(n)), 0, n
    while last - first > 3:
        middle, low, high = first + (last - first) // 2, first + 1, last - 1
        order[first], order[middle] = order[middle], order[first]       # the pivot; no value is less than another,
        while low < high:                                               # so both ends stop at every element and swap
            order[low], order[high] = order[high], order[low]
            low, high = low + 1, high - 1
        first, last = (low, last) if low <= k - 1 else (first, low)
    return order[:k]


GROUPS = ("mapping", "convs", "rgb", "const", "noise")


class PassOn:
    """A mapper in name only: the recorded features take the place of what its prompts would give."""

    per_level = False

    def __call__(self, w):
        return w


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

    def z(self, step, index=0, stream="generator.z", batch=None):
        return self.record["z_layers" if stream == "generator.layers" else "z"][step]


def test_training(monkeypatch):
    record, clip = golden.Reference("stage2"), golden.clip("vit")
    source, target = golden.generator(), golden.generator(golden.fill.generator_stage2)
    w = generator64.mapping({name: var.numpy() for name, var in named_tensors(source).items()}, record["z"][0])
    golden.decide_kinks(monkeypatch, target, np.repeat(w[:, None], target.n_latent, 1))
    beta2 = float(record["beta2"])
    settings = SimpleNamespace(
        steps=3, batch=2, schedule="constant", ema=0.99, mixing=0.0, noise="const", layers="auto", auto_layers_k=5,
        auto_layers_batch=4, auto_layers_iters=1, auto_layers_every=1, train=GROUPS, views=0, view_scale=1.0,
        view_noise=0.0, direction_floor=0.0, maps_rate=1.0, adam=lambda: (float(record["lr"]), (0.0, beta2)))
    others = ("global_", "manifold", "texture", "variations", "naming", "mean_direction", "covariance", "anchor",
              "consolidation", "patch", "structure", "range")
    weights = SimpleNamespace(directional=1.0, **dict.fromkeys(others, 0.0))
    classes = [class_prompts(name, "a photo of a") for name in ("photo", "disney")]
    prompts = Recorded(record, clip, *classes, official=True)
    first, seen, chosen = {}, [], []

    class Watched(optim.Adam):
        def step(self, grads, lr=None):
            first.update({name: grad.numpy() for name, grad in grads.items()} if not first else {})
            super().step(grads, lr)

    def aliased(*args):
        real = layers.scores(*args)
        assert np.isfinite(real).all() and (real > 0).all()
        return np.zeros_like(real)

    def torch_order(values, k):
        assert not values.any()
        return np.int32(topk_of_ties(len(values), k))

    monkeypatch.setattr(stage2, "Adam", Watched)
    monkeypatch.setattr(stage2.layers, "choose", lambda generator, ws, loss, k, n: torch_order(aliased(ws, loss, n), k))

    def watch(step, told, state):
        seen.append(told["loss"])
        chosen.append(state()["chosen/layers"])

    average = stage2.train_generator(
        source, target, [listeners.listen(clip, 1.0, "photo", "disney")], settings, weights, seed=0, prompts=prompts,
        mapper=PassOn(), official=True, draws=RecordedDraws(record, source, settings), loop=Loop(on_step=watch))

    assert np.array_equal(chosen, record["chosen_layers"]), (chosen, record["chosen_layers"])
    recorded = {name.removeprefix("grad/") for name in record if name.startswith("grad/")}
    assert set(first) == recorded, set(first) ^ recorded
    golden.check_gradients(record, first, 3e-5)
    record.check("losses", np.float32(seen), 2e-3)
    w = source.mapping(jt.array(record["z"][0]))
    record.check("image_final", target.synthesis(w), 2e-3)
    load_into(target, {**{k: v.numpy() for k, v in named_tensors(target).items()}, **average}, source="average")
    record.check("image_ema_final", target.synthesis(w), 2e-3)

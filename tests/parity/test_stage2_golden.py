"""Three steps of the official generator training with layer choice: layers, first gradients, losses, images, average.

The record was made on a CPU, where the original compares the moved latents with an alias of themselves
(`torch.Tensor(array)` shares the array's memory): every score is 0, and the order in which torch.topk leaves ties decides.
On a GPU the copy breaks the alias and the scores are real. This project always uses the real scores; here they are
replaced by the zeros of the record, and the choice must then be the recorded one.
"""
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import golden  # noqa: E402

from jittor_ipl.adaptation import directions, layers, stage2
from jittor_ipl.models.strict import load_into, named_tensors  # noqa: E402
from jittor_ipl.runtime.backend import jt  # noqa: E402
from jittor_ipl.train import optim  # noqa: E402


def topk_of_ties(n: int, k: int) -> list[int]:
    """Return the indices of torch.topk(zeros(n), k) on a CPU for n <= 16: libstdc++'s nth_element swaps equal values too."""
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
        auto_layers_batch=4, auto_layers_iters=1, auto_layers_every=1, train=GROUPS, views=0, view_scale=1.0, view_noise=0.0,
        direction_floor=0.0, maps_rate=1.0, adam=lambda: (float(record["lr"]), (0.0, beta2)))
    weights = SimpleNamespace(directional=1.0, global_=0.0, manifold=0.0, texture=0.0, variations=0.0, naming=0.0, mean_direction=0.0, covariance=0.0,
                              anchor=0.0, consolidation=0.0, patch=0.0, structure=0.0, range=0.0)
    prompts = Recorded(record, clip, 4, "a photo of a", "photo", "disney", official=True)
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
        chosen.append(state()["chosen_layers"])

    average = stage2.train_generator(
        source, target, [directions.listen(clip, 1.0, "photo", "disney")], settings, weights, seed=0, prompts=prompts,
        mapper=PassOn(), official=True, draws=RecordedDraws(record, source, settings), on_step=watch)

    assert np.array_equal(chosen, record["chosen_layers"]), (chosen, record["chosen_layers"])
    recorded = {name.removeprefix("grad/") for name in record if name.startswith("grad/")}
    assert set(first) == recorded, set(first) ^ recorded
    strengths = sorted(name for name in first if name.endswith("noise.weight"))
    for name in sorted(set(first) - set(strengths)):
        golden.report(f"gradient {name}", golden.error(golden.summary(first[name]), record[f"grad/{name}"]), 1e-3)
    # A noise strength's gradient is one sum over a whole layer whose terms cancel to 1/20 or 1/200 of their size, and a
    # leaky ReLU that flips on the last bit moves it by 1e-3: all strengths are compared with the largest of them.
    ours, reference = (np.concatenate(x) for x in zip(*((first[n], record[f"grad/{n}"][1:]) for n in strengths)))
    print("noise strengths one by one:", np.abs(ours / reference - 1))
    golden.report("gradient noise strengths", golden.error(ours, reference), 1e-3)
    golden.report("losses", golden.error(np.float32(seen), record["losses"]), 2e-3)
    w = source.mapping(jt.array(record["z"][0]))
    golden.report("image_final", golden.error(target.synthesis(w), record["image_final"]), 2e-3)
    load_into(target, {**{k: v.numpy() for k, v in named_tensors(target).items()}, **average}, source="average")
    golden.report("image_ema_final", golden.error(target.synthesis(w), record["image_ema_final"]), 2e-3)

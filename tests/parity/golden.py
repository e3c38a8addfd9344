"""The networks and numbers of the recorded references, rebuilt from `tests/golden` for the parity tests."""
from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import generator64
import numpy as np

from jittor_ipl.models.clip.config import ClipConfig
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.mappers import PromptMapper
from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.models.stylegan2 import layers
from jittor_ipl.models.stylegan2.config import GeneratorConfig, default_channels
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt

GOLDEN = Path(__file__).parents[1] / "golden"
MULTIPLE, FLOOR = 4, 1e-6
NEAR = 3e-5     # of a layer's root mean square: five times what float32 may move an activation
_spec = importlib.util.spec_from_file_location("golden_fill", GOLDEN / "fill.py")
fill = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fill)


class Reference(dict):
    """One record: its arrays as float32, rounded from float64 where that is recorded; whole in `exact`.

    `pytorch` holds what PyTorch computed in float32, `exact` what the same code gives in float64: `float64.npz` holds
    the difference, in units of 2^-20 of the array's largest magnitude.
    """

    def __init__(self, name: str):
        self.pytorch = record(name)
        with np.load(GOLDEN / "float64.npz") as beyond:
            self.exact = {key: value + beyond[f"{name}/{key}"].astype(np.float64)
                          * float(np.abs(value).max() * 2.0**-20)
                          if f"{name}/{key}" in beyond else value for key, value in self.pytorch.items()}
        super().__init__((key, value.astype(self.pytorch[key].dtype)) for key, value in self.exact.items())

    def join(self, name: str, keys: list[str]) -> None:
        """Add the sampled entries of `keys` as one array `name`."""
        for arrays in (self.pytorch, self.exact):
            arrays[name] = np.concatenate([arrays[key][1:] for key in keys])

    def check(self, name: str, ours, most: float) -> None:
        """Print how far `ours` is from float64 and fail above MULTIPLE times PyTorch's own distance, or above
        `most`.
        """
        distance = error(self.pytorch[name], self.exact[name])
        value, limit = error(ours, self.exact[name]), min(MULTIPLE * max(distance, FLOOR), most)
        print(f"{name}: {value:.1e} from float64, PyTorch {distance:.1e}, limit {limit:.1e}")
        assert value <= limit, f"{name}: {value:.2e} from float64, PyTorch {distance:.2e}, limit {limit:.2e}"


def record(name: str) -> dict[str, np.ndarray]:
    """Return every array of `tests/golden/<name>.npz`."""
    with np.load(GOLDEN / f"{name}.npz") as data:
        return {key: data[key] for key in data.files}


def generator(draw: Callable[[str, tuple, int], np.ndarray] = fill.generator) -> Generator:
    """Return the 32 px generator with weights from `draw` (`fill.generator` or `fill.generator_stage2`)."""
    about = json.loads((GOLDEN / "stylegan2.json").read_text())
    model = Generator(GeneratorConfig(*(about[key] for key in ("size", "style_dim", "n_mlp")),
                                      default_channels(about["size"], about["channel_multiplier"])))
    own = named_tensors(model)
    load_into(model, {name: own[name].numpy() if name.endswith(".kernel") else draw(name, shape, about["seed"])
                      for name, shape in about["keys"].items()}, source="golden record")
    return model


def clip(kind: str) -> Clip:
    """Return the tiny CLIP "vit" or "rn"."""
    about = json.loads((GOLDEN / "clip.json").read_text())
    tensors = {name: np.asarray(fill.clip(name, shape, about[f"seed_{kind}"]), np.float32)
               for name, shape in about[f"keys_{kind}"].items() if not name.endswith("num_batches_tracked")}
    model = Clip(ClipConfig(**about[kind]))
    load_into(model, tensors, source="golden record")
    return model


def mapper(seed: int = 0) -> PromptMapper:
    """Return the prompt mapper for the tiny CLIPs' token width, 4 vectors from w of width 512."""
    model = PromptMapper(512, 4, 128)
    load_into(model, {name: fill.mapper(name, tuple(var.shape), seed) for name, var in named_tensors(model).items()},
              source="golden record")
    return model


def decide_kinks(monkeypatch, model: Generator, ws: np.ndarray) -> None:
    """Push what stands within rounding of a leaky ReLU's kink to the side on which float64 sees it, for these `ws`.

    About a hundred of four million activations lie so near that the processor's rounding picks the slope; the slope of
    one alone moves a gradient by 2e-3 of its largest entry, as much as many a wrong formula. The push, NEAR of the
    layer's magnitude, moves picture and gradients by less than 1e-7.
    """
    entered, _ = generator64.pre_activations({name: var.numpy() for name, var in named_tensors(model).items()}, ws)
    pushes = {}
    for layer, y in zip([model.conv1, *model.convs], entered):
        near = NEAR * np.sqrt((y * y).mean())
        pushes[id(layer.activate.bias)] = jt.array(np.float32(np.sign(y) * near * (np.abs(y) < near)))
    plain = layers.bias_act

    def decided(y: jt.Var, bias: jt.Var) -> jt.Var:
        push = pushes.get(id(bias))
        return plain(y if push is None or push.shape != y.shape else y + push, bias)

    monkeypatch.setattr(layers, "bias_act", decided)


def summary(value: np.ndarray) -> np.ndarray:
    """Return what `grad/` and `final/` records hold: the L2 norm, then up to 64 entries at regular steps."""
    flat = np.asarray(value, np.float64).reshape(-1)
    return np.concatenate([[np.linalg.norm(flat)], flat[::max(1, flat.size // 64)][:64]])


def check_gradients(reference: Reference, grads: dict[str, np.ndarray], most: float) -> None:
    """Compare with the summaries `grad/<name>` of `reference`; the noise strengths, scalars, as one."""
    strengths = sorted(name for name in grads if name.endswith("noise.weight"))
    for name in sorted(set(grads) - set(strengths)):
        reference.check(f"grad/{name}", summary(grads[name]), most)
    if strengths:
        reference.join("grad/noise strengths", [f"grad/{name}" for name in strengths])
        reference.check("grad/noise strengths", np.concatenate([grads[name].reshape(-1) for name in strengths]), most)


def error(ours, reference: np.ndarray) -> float:
    """Return the largest difference over the reference's largest magnitude."""
    ours = ours.numpy() if isinstance(ours, jt.Var) else np.asarray(ours)
    assert ours.size == np.asarray(reference).size, (ours.shape, np.shape(reference))
    ours, reference = ours.reshape(-1), np.asarray(reference).reshape(-1)
    return float(np.abs(ours - reference).max() / np.abs(reference).max())


def report(name: str, value: float, limit: float) -> None:
    """Print the error and fail above `limit`."""
    print(f"{name}: relative error {value:.1e} (limit {limit:.0e})")
    assert value <= limit, f"{name}: relative error {value:.2e} > {limit:.0e}"

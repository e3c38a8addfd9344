"""The networks and numbers of the recorded references, rebuilt from `tests/golden` for the parity tests."""
from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.prompt_mapper import PromptMapper
from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt

GOLDEN = Path(__file__).parents[1] / "golden"
_spec = importlib.util.spec_from_file_location("golden_fill", GOLDEN / "fill.py")
fill = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fill)


def record(name: str) -> dict[str, np.ndarray]:
    """Return every array of `tests/golden/<name>.npz`."""
    with np.load(GOLDEN / f"{name}.npz") as data:
        return {key: data[key] for key in data.files}


def generator(draw: Callable[[str, tuple, int], np.ndarray] = fill.generator) -> Generator:
    """Return the 32 px generator with weights from `draw` (`fill.generator` or `fill.generator_stage2`)."""
    about = json.loads((GOLDEN / "stylegan2.json").read_text())
    model = Generator(**{key: about[key] for key in ("size", "style_dim", "n_mlp", "channel_multiplier")})
    own = named_tensors(model)
    load_into(model, {name: own[name].numpy() if name.endswith(".kernel") else draw(name, shape, about["seed"])
                      for name, shape in about["keys"].items()}, source="golden record")
    return model


def clip(kind: str) -> Clip:
    """Return the tiny CLIP "vit" or "rn"."""
    about = json.loads((GOLDEN / "clip.json").read_text())
    tensors = {name: np.asarray(fill.clip(name, shape, about[f"seed_{kind}"]), np.float32)
               for name, shape in about[f"keys_{kind}"].items() if not name.endswith("num_batches_tracked")}
    return Clip.from_tensors(tensors, source="golden record", **about[kind])


def mapper(seed: int = 0) -> PromptMapper:
    """Return the prompt mapper for the tiny CLIPs' token width, 4 vectors from w of width 512."""
    model = PromptMapper(512, 4, 128)
    load_into(model, {name: fill.mapper(name, tuple(var.shape), seed) for name, var in named_tensors(model).items()},
              source="golden record")
    return model


def summary(value: np.ndarray) -> np.ndarray:
    """Return what `grad/` and `final/` records hold: the L2 norm, then up to 64 entries at regular steps."""
    flat = np.asarray(value, np.float64).reshape(-1)
    return np.concatenate([[np.linalg.norm(flat)], flat[::max(1, flat.size // 64)][:64]])


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

"""The recorded numbers of the metrics' networks, and our networks with the very weights of the records."""
from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.runtime.backend import jt

SEED = 11
GOLDEN = Path(__file__).parents[1] / "golden"
_spec = importlib.util.spec_from_file_location("golden_fill", GOLDEN / "fill.py")
fill = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(fill)


def record() -> dict[str, np.ndarray]:
    """Return every array of features.npz, as tests/parity/record_feature_networks.py wrote it."""
    with np.load(GOLDEN / "features.npz") as data:
        return {name: data[name] for name in data.files}


def weights(model) -> dict[str, np.ndarray]:
    """Return the tensors of the record under the names of `model`."""
    return {name: np.asarray(fill.features(name, tuple(var.shape), SEED), np.float32)
            for name, var in named_tensors(model).items()}


def filled(model):
    """Return `model` with the weights of the records."""
    load_into(model, weights(model), source="record")
    return model


def normalised(pictures: np.ndarray) -> jt.Var:
    """Return uint8 pictures as floats in about [-1, 1]."""
    return jt.array((pictures.astype(np.float32) - 128) / np.float32(127.5))


def summary(value: jt.Var) -> np.ndarray:
    """Return the L2 norm and up to 64 entries at regular steps."""
    flat = value.numpy().astype(np.float64).reshape(-1)
    return np.concatenate([[np.linalg.norm(flat)], flat[::max(1, flat.size // 64)][:64]])


def agree(name: str, ours: np.ndarray, reference: np.ndarray, limit: float = 1e-4) -> None:
    """Fail unless the largest difference is at most `limit` of the reference's largest magnitude; print it."""
    assert ours.shape == reference.shape, (name, ours.shape, reference.shape)
    error = float(np.abs(ours - reference).max() / np.abs(reference).max())
    print(f"{name}: relative error {error:.1e} (limit {limit:.0e})")
    assert error <= limit, f"{name}: relative error {error:.2e} > {limit:.0e}"

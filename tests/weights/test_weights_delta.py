"""Delta files give the adapted network back, exactly or as documented rounded, and only over their own source."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.safetensors import read_safetensors, write_safetensors
from jittor_ipl.weights.delta import apply_delta, fingerprint, save_delta

RNG = np.random.default_rng(0)
SOURCE = {"a": RNG.standard_normal((64, 32)).astype("f4"), "b": np.ones(3, "f4"), "c": np.zeros((1, 1), "f4")}
ADAPTED = {**SOURCE, "a": SOURCE["a"] + 0.01 * RNG.standard_normal((64, 32)).astype("f4"),
           "c": np.full((1, 1), 1e6, "f4")}


def applied(path: Path, source: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return apply_delta(*read_safetensors(path), source, str(path))


def test_values_come_back_bit_for_bit(tmp_path: Path) -> None:
    save_delta(tmp_path / "d", ADAPTED, SOURCE, {"style": "disney"})
    tensors, metadata = read_safetensors(tmp_path / "d")
    assert set(tensors) == {"a", "c"} and metadata["style"] == "disney"
    assert metadata["source_sha256"] == fingerprint(SOURCE)
    found = applied(tmp_path / "d", SOURCE)
    assert all(found[name].tobytes() == ADAPTED[name].tobytes() for name in SOURCE)


def test_differences_are_rounded_as_documented(tmp_path: Path) -> None:
    save_delta(tmp_path / "d", ADAPTED, SOURCE, half=True)
    found = applied(tmp_path / "d", SOURCE)
    assert np.array_equal(found["a"], SOURCE["a"] + (ADAPTED["a"] - SOURCE["a"]).astype("f2").astype("f4"))
    assert np.array_equal(found["c"], ADAPTED["c"]), "beyond float16: kept as a value"
    allowed = np.maximum(2.0**-11 * np.abs(ADAPTED["a"] - SOURCE["a"]), 2.0**-25) + np.spacing(np.abs(ADAPTED["a"]))
    assert (np.abs(found["a"] - ADAPTED["a"]) <= allowed).all()
    assert found["a"].dtype == np.float32


def test_another_source_is_refused(tmp_path: Path) -> None:
    save_delta(tmp_path / "d", ADAPTED, SOURCE)
    changed = {**SOURCE, "b": np.array([1, 1, np.nextafter(np.float32(1), np.float32(2))], "f4")}
    with pytest.raises(UserError, match="made from another source"):
        applied(tmp_path / "d", changed)


def test_damaged_deltas_are_refused(tmp_path: Path) -> None:
    facts = {"kind": "delta", "delta": "value", "source_sha256": fingerprint(SOURCE)}
    cases = [({"aa": SOURCE["a"]}, facts, "unexpected tensor 'aa' .did you mean 'a'"),
             ({"a": SOURCE["b"]}, facts, "has shape"), ({}, {}, "not a delta"),
             ({}, {**facts, "delta": "odd"}, "unknown delta"),
             ({"b": SOURCE["b"]}, {**facts, "delta": "difference", "values": "[]"}, "not float16"),
             ({"b": SOURCE["b"]}, {**facts, "delta": "difference", "values": "7"}, "unknown delta")]
    for tensors, metadata, message in cases:
        write_safetensors(tmp_path / "d", tensors, metadata)
        with pytest.raises(UserError, match=message):
            applied(tmp_path / "d", SOURCE)


def test_fingerprint_sees_names_shapes_and_values() -> None:
    assert fingerprint(SOURCE) == fingerprint(dict(reversed(SOURCE.items())))
    assert fingerprint({"s": np.array(1.0)}) == fingerprint({"s": np.array([1.0])})
    variants = [{"a": np.ones(2, "f4")}, {"b": np.ones(2, "f4")}, {"a": np.ones((2, 1), "f4")},
                {"a": np.ones(2, "f8")}, {}]
    assert len(set(map(fingerprint, variants))) == len(variants)

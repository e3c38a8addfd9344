"""Delta files: only what an adapted network changed, tied by hash to the network it was adapted from.

Two encodings, told by the metadata key `delta`:
  "value"       the adapted tensors themselves; applying gives them back bit for bit;
  "difference"  float16(adapted - source), both steps rounded to nearest even in float32 and float16. Applying gives
                source + float32(difference), rounded in float32. The error of a value is at most 2^-11 of its change
                (2^-25 for changes below 2^-14, float16's subnormals) plus one unit in its last place. A tensor whose
                change exceeds float16's range is kept as its value; the metadata key `values` lists those.
"""
from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.strict import check_names
from jittor_ipl.weights.containers.safetensors import write_safetensors

_KIND = "delta"
_HALF_MAX = float(np.finfo(np.float16).max)


def fingerprint(tensors: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of names, types, shapes and bytes: equal for equal tensors whatever file they came from."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = np.asarray(tensors[name])
        little = np.require(array, dtype=array.dtype.newbyteorder("<"), requirements="C")
        # [] and [1] are one shape, as Jittor has no scalars.
        digest.update(json.dumps([name, array.dtype.name, list(array.shape or (1,))]).encode())
        digest.update(little.tobytes() if not little.ndim or not little.size else little.data)
    return digest.hexdigest()


def save_delta(path: str | os.PathLike, adapted: Mapping[str, np.ndarray], source: Mapping[str, np.ndarray],
               metadata: Mapping[str, str] | None = None, *, half: bool = False) -> None:
    """Write the tensors of `adapted` that differ from `source` (same names and shapes) as one safetensors file.

    `half` stores float32 changes as float16 differences (see the module). Values are compared by their bits.
    """
    stored, facts = changes(adapted, source, half)
    write_safetensors(path, stored, {**(metadata or {}), **facts})


def changes(adapted: Mapping[str, np.ndarray], source: Mapping[str, np.ndarray],
            half: bool) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the tensors of a delta file and the metadata that `apply_delta` reads; arguments as of `save_delta`."""
    assert set(adapted) == set(source) and all(adapted[n].shape == source[n].shape for n in adapted)
    stored, values = {}, []
    for name in sorted(adapted):
        if adapted[name].tobytes() == source[name].tobytes():
            continue
        stored[name] = _half_difference(adapted[name], source[name]) if half else None
        if stored[name] is None:
            stored[name] = adapted[name]
            values.append(name)
    facts = {"kind": _KIND, "delta": "difference" if half else "value", "source_sha256": fingerprint(source)}
    return stored, facts | ({"values": json.dumps(values)} if half else {})


def _half_difference(adapted: np.ndarray, source: np.ndarray) -> np.ndarray | None:
    """Return the change as float16, or None where that type cannot hold it."""
    if adapted.dtype != np.float32:
        return None
    change = adapted - source
    fits = np.isfinite(change).all() and np.abs(change).max(initial=0.0) <= _HALF_MAX
    return change.astype(np.float16) if fits else None


def apply_delta(stored: Mapping[str, np.ndarray], metadata: Mapping[str, str], source: Mapping[str, np.ndarray],
                label: str) -> dict[str, np.ndarray]:
    """Return the adapted tensors that a delta file's tensors and metadata describe relative to `source`; arrays may be
    shared. Raises UserError naming `label` when it is no delta, was made from another source, or does not fit it.
    """
    if not is_delta(metadata):
        raise UserError(f"{label} is not a delta file: its metadata lacks kind={_KIND!r}")
    wanted, found = metadata.get("source_sha256", "nothing"), fingerprint(source)
    if wanted != found:
        raise UserError(f"{label} was made from another source network (SHA-256 {wanted[:12]}..., this one has "
                        f"{found[:12]}...); name the generator that the style was adapted from")
    check_names(source, {**source, **stored}, f"{label} against its source")
    values = _value_names(metadata, stored, label)
    adapted = dict(source)
    for name, array in stored.items():
        if array.shape != source[name].shape:
            raise UserError(f"{label}: tensor {name!r} has shape {list(array.shape)}, "
                            f"its source {list(source[name].shape)}")
        adapted[name] = array if name in values else source[name] + array.astype(np.float32)
    return adapted


def is_delta(metadata: Mapping[str, str]) -> bool:
    """Tell whether a safetensors file's metadata marks it as a delta."""
    return metadata.get("kind") == _KIND


def _value_names(metadata: Mapping[str, str], stored: Mapping[str, np.ndarray], label: str) -> set[str]:
    """Return the names stored as values; the other tensors are differences."""
    encoding = metadata.get("delta")
    if encoding == "value":
        return set(stored)
    try:
        values = json.loads(metadata["values"]) if encoding == "difference" else None
        names = {name for name in values if isinstance(name, str)}
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{label}: unknown delta encoding {str(encoding)[:40]!r}") from error
    if not all(name in names or array.dtype == np.float16 for name, array in stored.items()):
        raise UserError(f"{label}: a difference is not float16")
    return names

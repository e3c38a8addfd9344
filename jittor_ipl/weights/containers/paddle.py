"""What PaddlePaddle adds to a pickled state dictionary: a table of names, parameters as pairs, large ones in slices."""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jittor_ipl.weights.containers.lazy import LazyArray
from jittor_ipl.weights.containers.limits import refuse, shown
from jittor_ipl.weights.containers.pickle.numpy_rules import ArrayStub, readonly, sizes

NAME_TABLE = "StructuredToParameterName@@"      # structured name -> the framework's own name: not needed here
SLICES = "UnpackBigParamInfor@@"                # name -> {"OriginShape": ..., "slices": [names]}, spelt so
_MAX_SLICES = 10_000


def joined_parameters(root: Any) -> Any:
    """Return a pickle's object with Paddle's peculiarities undone, anything else unchanged.

    (name, array) pairs become arrays, parameters written in slices become whole, the table of names goes. Raises
    UnsafeWeightsError when slices are missing or do not make up the shape that is announced.
    """
    if not isinstance(root, dict) or not (NAME_TABLE in root or SLICES in root or any(map(_is_pair, root.values()))):
        return root
    state = {key: value[1] if _is_pair(value) else value
             for key, value in root.items() if key not in (NAME_TABLE, SLICES)}
    table = root.get(SLICES, {})
    if not isinstance(table, dict):
        refuse(f"{SLICES} is no dictionary")
    for name, entry in table.items():
        parts, shape = _slices(name, entry, state)
        for part in parts:
            del state[part]
        state[name] = shape
    return state


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and [type(part) for part in value] == [str, ArrayStub]


def _slices(name: Any, entry: Any, state: Mapping[Any, Any]) -> tuple[list[str], ArrayStub]:
    """Return the names of a parameter's slices and the whole parameter, still to be read."""
    if not isinstance(name, str) or not isinstance(entry, dict) or set(entry) != {"OriginShape", "slices"}:
        refuse(f"{SLICES} has a malformed entry")
    names, shape = entry["slices"], sizes(entry["OriginShape"])
    if not isinstance(names, list) or not all(isinstance(part, str) for part in names) \
            or not 0 < len(names) == len(set(names)) <= _MAX_SLICES:
        refuse(f"{SLICES} has a malformed list of slices")
    parts = [getattr(state.get(part), "lazy", None) for part in names]
    if not all(isinstance(part, LazyArray) and part.dtype == parts[0].dtype for part in parts):
        refuse(f"a slice of {shown(name)} is missing, or of another type")
    if sum(math.prod(part.shape) for part in parts) != math.prod(shape):
        refuse(f"the slices of {shown(name)} do not make up the shape {list(shape)}")

    def load() -> np.ndarray:
        return readonly(np.concatenate([part.load().reshape(-1) for part in parts]).reshape(shape))

    nbytes = math.prod(shape) * parts[0].dtype.itemsize
    return names, ArrayStub(LazyArray(shape, parts[0].dtype, parts[0].stored, load, nbytes))

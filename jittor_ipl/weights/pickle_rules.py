"""The allow-list common to all pickled weights: plain containers, NumPy arrays, Jittor Vars; each a stand-in of ours."""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from .pickle_reader import Buildable, Global, OrderedDictStub, Record, Rule, refuse, scalar

_NUMPY_CODES = {"b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"}
_MAX_RANK = 32


class DtypeStub(Buildable):
    """A NumPy number type under construction."""

    def __init__(self, code: Any, *_: Any) -> None:
        if not isinstance(code, str) or code.lstrip("<>|=") not in _NUMPY_CODES:
            refuse(f"a NumPy type other than plain numbers ({ascii(code)[:40]})")
        self.dtype = np.dtype(code)

    def build(self, state: Any) -> None:
        """Take (version, byte order, subarray, names, fields, size, alignment, flags); only plain numbers pass."""
        if not isinstance(state, tuple) or len(state) < 5 or state[1] not in ("<", ">", "|", "="):
            refuse("the state of a NumPy type is malformed")
        if any(part is not None for part in state[2:5]):
            refuse("a structured NumPy type")
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class ArrayStub(Buildable):
    """A NumPy array under construction; `array` is None until its state arrives."""

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def build(self, state: Any) -> None:
        """Take (version, shape, type, is Fortran order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            refuse("the state of a NumPy array is malformed")
        self.array = make_array(state[4], state[2], state[1], "F" if state[3] else "C")


def make_array(raw: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    """Return a read-only array over `raw` after checking that type and shape fill it exactly."""
    raw = raw.encode("latin-1") if isinstance(raw, str) else raw  # a Python 2 string
    if not isinstance(dtype, DtypeStub) or not isinstance(raw, bytes):
        refuse("a NumPy array without type or bytes")
    shape = sizes((shape,) if isinstance(shape, int) else shape)
    if math.prod(shape) * dtype.dtype.itemsize != len(raw) or order not in ("C", "F"):
        refuse(f"a NumPy array of shape {list(shape)} in {len(raw)} bytes")
    array = np.frombuffer(raw, dtype.dtype).astype(dtype.dtype.newbyteorder("="), copy=False)
    return array.reshape(shape, order=order)


def sizes(value: Any) -> tuple[int, ...]:
    """Return `value` checked to be a tuple of sizes whose product NumPy can hold."""
    if isinstance(value, Shape):
        value = value.value
    if not isinstance(value, (tuple, list)) or len(value) > _MAX_RANK or not all(
            type(n) is int and 0 <= n < 2**48 for n in value) or math.prod(max(n, 1) for n in value) >= 2**60:
        refuse("an impossible shape")
    return tuple(value)


class Shape:
    """`torch.Size`."""

    def __init__(self, value: Any = ()) -> None:
        self.value = sizes(value)


def _ordered_dict(pairs: Any = ()) -> OrderedDictStub:
    result = OrderedDictStub()
    for pair in pairs if isinstance(pairs, (list, tuple)) else refuse("an OrderedDict of something else"):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            refuse("an OrderedDict entry that is no pair")
        result[scalar(pair[0])] = pair[1]
    return result


def _encode(text: Any, codec: Any) -> bytes:
    if not isinstance(text, str) or codec not in ("latin1", "latin-1"):
        refuse("_codecs.encode of anything but latin-1 text")
    return text.encode("latin-1")


def _tuple(items: Any = ()) -> tuple:
    return tuple(items) if isinstance(items, (list, tuple)) else refuse("a tuple of something else")


def _set(items: Any = ()) -> set:
    return set(map(scalar, items)) if isinstance(items, (list, tuple)) else refuse("a set of something else")


def _reconstruct(kind: Any, shape: Any, code: Any) -> ArrayStub:
    if not isinstance(kind, Global) or (kind.module, kind.name) != ("numpy", "ndarray"):
        refuse("a NumPy array of a special class")
    return ArrayStub()


def _scalar(dtype: Any, raw: Any) -> np.ndarray:
    return make_array(raw, dtype, (), "C")


def _path(*parts: Any) -> Record:
    return Record()


def _jittor_var(value: Any) -> Any:
    return value if isinstance(value, (ArrayStub, np.ndarray)) else refuse("a Jittor Var without an array")


_CONTAINERS = {
    ("collections", "OrderedDict"): Rule(call=_ordered_dict),
    ("collections", "defaultdict"): Rule(call=lambda factory=None: OrderedDictStub()),
    ("builtins", "dict"): Rule(),
    ("builtins", "list"): Rule(),
    ("builtins", "tuple"): Rule(call=_tuple),                   # Paddle writes a tensor as tuple((name, array))
    ("builtins", "bytes"): Rule(call=lambda: b""),              # protocol 2 has no other empty bytes
    ("builtins", "set"): Rule(call=_set),
    ("builtins", "frozenset"): Rule(call=lambda items=(): frozenset(_set(items))),
    ("_codecs", "encode"): Rule(call=_encode),
    ("argparse", "Namespace"): Rule(call=Record, new=Record),   # rosinality's training options
    ("pathlib", "PosixPath"): Rule(call=_path),
    ("pathlib", "WindowsPath"): Rule(call=_path),
    ("jittor", "Var"): Rule(call=_jittor_var),
    ("jittor", "jittor_core.Var"): Rule(call=_jittor_var),
    ("jittor_core", "Var"): Rule(call=_jittor_var),
}
_NUMPY = {("numpy", "ndarray"): Rule(), ("numpy", "dtype"): Rule(call=DtypeStub)}
for _core in ("numpy.core", "numpy._core"):                     # NumPy 2 renamed the package
    _NUMPY[f"{_core}.multiarray", "_reconstruct"] = Rule(call=_reconstruct)
    _NUMPY[f"{_core}.multiarray", "scalar"] = Rule(call=_scalar)
    _NUMPY[f"{_core}.numeric", "_frombuffer"] = Rule(call=make_array)

RULES: dict[tuple[str, str], Rule] = {**_CONTAINERS, **_NUMPY}
_PYTHON_2 = {"__builtin__": "builtins"}


def find_rule(module: str, name: str) -> Rule | None:
    """Return the rule for a global that any pickled weight file may name, None for all others."""
    return RULES.get((_PYTHON_2.get(module, module), name))

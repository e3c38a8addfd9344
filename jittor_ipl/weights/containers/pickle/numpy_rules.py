"""NumPy's arrays, numbers and types in pickles, as stand-ins that stay in the file's bytes until they are needed."""
from __future__ import annotations

import math
from typing import Any

import numpy as np

from jittor_ipl.weights.containers.lazy import LazyArray
from jittor_ipl.weights.containers.limits import described, refuse
from jittor_ipl.weights.containers.pickle.objects import Buildable, Global, LongText, Rule, RuleTable, latin

SCALAR_TYPES = {name: np.dtype(name.strip("_")).str[1:] for name in (
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool_",
    "bool", "complex64", "complex128")}
NUMBER_CODES = frozenset(SCALAR_TYPES.values())
_MAX_RANK = 32


class DtypeStub(Buildable):
    """A NumPy number type under construction."""

    __slots__ = ("dtype",)

    def __init__(self, code: Any, *_: Any) -> None:
        if isinstance(code, Global) and code.module == "numpy" and code.name in SCALAR_TYPES:
            code = SCALAR_TYPES[code.name]
        if not isinstance(code, str) or code.lstrip("<>|=") not in NUMBER_CODES or len(code) > 4:
            refuse(f"a NumPy type other than plain numbers: {described(code)}")
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
    """A NumPy array under construction; `lazy` is None until its state arrives."""

    __slots__ = ("lazy",)

    def __init__(self, lazy: LazyArray | None = None) -> None:
        self.lazy = lazy

    def build(self, state: Any) -> None:
        """Take (version, shape, type, is Fortran order, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[3], (bool, int)):
            refuse("the state of a NumPy array is malformed")
        self.lazy = make_array(state[4], state[2], state[1], "F" if state[3] else "C").lazy


def make_array(raw: Any, dtype: Any, shape: Any, order: Any) -> ArrayStub:
    """Return an array over `raw` after checking that type and shape fill it exactly."""
    if isinstance(raw, list):
        refuse("a NumPy array of Python objects")
    if not isinstance(dtype, DtypeStub) or not isinstance(raw, (bytes, str, memoryview, LongText)):
        refuse("a NumPy array without type or bytes")
    if not isinstance(order, str) or order not in ("C", "F"):
        refuse("a NumPy array in an unknown order")
    shape, kind = sizes((shape,) if isinstance(shape, int) else shape), dtype.dtype
    needed = math.prod(shape) * kind.itemsize
    # One letter of a latin-1 text is one or two bytes of UTF-8, up to six of protocol 0's escapes.
    longest = 6 * needed if isinstance(raw, LongText) and raw.coding != "latin-1" else needed
    if not needed <= len(raw) <= longest:
        refuse(f"a NumPy array of shape {list(shape)} in {len(raw)} bytes")
    native = kind.newbyteorder("=")

    def load() -> np.ndarray:
        # Protocols 0 to 2 write bytes as latin-1 text.
        data = raw.narrow() if isinstance(raw, LongText) else latin(raw) if isinstance(raw, str) else raw
        if len(data) != needed:
            refuse(f"a NumPy array of shape {list(shape)} in {len(data)} bytes")
        return readonly(np.frombuffer(data, kind).astype(native, copy=False).reshape(shape, order=order))

    copied = kind != native or isinstance(raw, (str, LongText))
    return ArrayStub(LazyArray(shape, native, native.name, load, needed if copied else 0))


def readonly(array: np.ndarray) -> np.ndarray:
    """Return the array with writing forbidden: it may share memory with others."""
    array.flags.writeable = False
    return array


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

    __slots__ = ("value",)

    def __init__(self, value: Any = ()) -> None:
        self.value = sizes(value)


def _reconstruct(kind: Any, shape: Any, code: Any) -> ArrayStub:
    if not isinstance(kind, Global) or (kind.module, kind.name) != ("numpy", "ndarray"):
        refuse("a NumPy array of a special class")
    return ArrayStub()


_CORES = ("numpy.core", "numpy._core")                          # NumPy 2 renamed the package
NUMPY_RULES: RuleTable = {
    ("numpy", "ndarray"): Rule(),
    ("numpy", "dtype"): Rule(call=DtypeStub),
    **{("numpy", name): Rule() for name in SCALAR_TYPES},
    **{(f"{core}.multiarray", "_reconstruct"): Rule(call=_reconstruct) for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): Rule(call=lambda dtype, raw: make_array(raw, dtype, (), "C"))
       for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): Rule(call=make_array) for core in _CORES},
}

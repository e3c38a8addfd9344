"""PyTorch's tensors in pickles: the allow-list for them, and their bytes turned into bounded NumPy arrays."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .pickle_reader import Global, Record, Rule, refuse, shown
from .pickle_rules import Shape, find_rule, sizes
from .tensors import widen_bfloat16

BFLOAT16 = "bfloat16"
_STORAGES = {"FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": BFLOAT16, "DoubleStorage": "f8",
             "LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1",
             "BoolStorage": "?", "UntypedStorage": "u1"}
_TYPES = {"float32": "f4", "float": "f4", "float16": "f2", "half": "f2", "bfloat16": BFLOAT16, "float64": "f8",
          "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1", "uint8": "u1", "bool": "?",
          "uint16": "u2", "uint32": "u4", "uint64": "u8"}


def itemsize(code: str) -> int:
    """Return the bytes of one element of a type code of this module."""
    return 2 if code == BFLOAT16 else np.dtype(code).itemsize


@dataclass(frozen=True)
class Storage:
    """A run of `numel` elements of type `code`, found under `key`; `start` elements into that record."""

    key: str
    code: str
    numel: int
    start: int = 0


@dataclass(frozen=True)
class TensorRef:
    """A tensor not yet read: a strided view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    code: str


def storage_from_id(identifier: Any) -> Storage:
    """Return the storage that a persistent id names: ("storage", type, key, device, numel[, view]).

    Raises UnsafeWeightsError for anything else.
    """
    if not isinstance(identifier, tuple) or len(identifier) not in (5, 6) or identifier[0] != "storage":
        refuse("a persistent id that is no storage")
    kind, key, _, numel = identifier[1:5]
    if not isinstance(kind, Global) or kind.name not in _STORAGES or not isinstance(key, str):
        refuse("a storage without type or key")
    if not key or not all(part.isalnum() for part in key.split("_")) or not key.isascii():
        refuse(f"a storage with the odd key {shown(key)}")
    (numel,) = sizes((numel,))
    start = 0
    if len(identifier) == 6 and identifier[5] is not None:     # legacy files: a window of a larger storage
        _, start, length = identifier[5]
        start, length = sizes((start, length))
        if start + length > numel:
            refuse("a storage window beyond its storage")
    return Storage(key, _STORAGES[kind.name], numel, start)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> TensorRef:
    return _typed(storage, offset, shape, strides, storage.code if isinstance(storage, Storage) else "")


def _tensor_v3(storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any, _hooks: Any, kind: Any,
               *_: Any) -> TensorRef:
    if not isinstance(kind, Global) or kind.name not in _TYPES:
        refuse("a tensor without type")
    return _typed(storage, offset, shape, strides, _TYPES[kind.name])


def _typed(storage: Any, offset: Any, shape: Any, strides: Any, code: str) -> TensorRef:
    if not isinstance(storage, Storage):
        refuse("a tensor without storage")
    shape, strides, (offset,) = sizes(shape), sizes(strides), sizes((offset,))
    if len(shape) != len(strides):
        refuse("a tensor whose shape and strides differ in length")
    last = offset + storage.start + sum((n - 1) * s for n, s in zip(shape, strides))
    if math.prod(shape) and (last + 1) * itemsize(code) > storage.numel * itemsize(storage.code):
        refuse(f"a tensor of shape {list(shape)} reaches beyond its storage")
    return TensorRef(storage, offset, shape, strides, code)


def _first(value: Any, *_: Any) -> Any:
    return value


def _from_type(function: Any, _kind: Any, arguments: Any, _state: Any) -> Any:
    """Rebuild a tensor that carries attributes (or is a Parameter): the tensor alone."""
    if not isinstance(function, Global) or not function.name.startswith("_rebuild_tensor") or function.rule.call is None:
        refuse("a tensor of a special class")
    return function.rule.call(*arguments) if isinstance(arguments, tuple) else refuse("a tensor without arguments")


_RULES = {
    ("torch._utils", "_rebuild_tensor"): Rule(call=_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Rule(call=_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Rule(call=_tensor_v3),
    ("torch._utils", "_rebuild_parameter"): Rule(call=_first),
    ("torch._utils", "_rebuild_parameter_with_state"): Rule(call=_first),
    ("torch._tensor", "_rebuild_from_type_v2"): Rule(call=_from_type),
    ("torch.nn.parameter", "Parameter"): Rule(),
    ("torch", "Tensor"): Rule(),
    ("torch", "Size"): Rule(call=Shape),
    ("torch", "device"): Rule(call=lambda *_: None),
    ("torch.storage", "UntypedStorage"): Rule(),
    ("torch.jit._pickle", "build_intlist"): Rule(call=_first),
    ("torch.jit._pickle", "build_doublelist"): Rule(call=_first),
    ("torch.jit._pickle", "build_boollist"): Rule(call=_first),
    ("torch.jit._pickle", "build_tensorlist"): Rule(call=_first),
    ("torch.jit._pickle", "restore_type_tag"): Rule(call=_first),
    **{(module, name): Rule() for name in _STORAGES for module in ("torch", "torch.cuda")},
    **{("torch", name): Rule() for name in _TYPES},
}


def find_torch_rule(module: str, name: str) -> Rule | None:
    """Return the rule for a global of a PyTorch checkpoint, None for all others."""
    return _RULES.get((module, name)) or find_rule(module, name)


def find_script_rule(module: str, name: str) -> Rule | None:
    """Return the rule for a global of a TorchScript archive, whose own classes all live below `__torch__`."""
    if module == "__torch__" or module.startswith("__torch__."):
        return Rule(new=Record)
    return find_torch_rule(module, name)


class Budget:
    """Bytes that reading one file may still turn into arrays; views that repeat a storage cannot inflate it."""

    def __init__(self, file_size: int) -> None:
        self.left = 4 * file_size + (64 << 20)

    def spend(self, count: int) -> None:
        """Raise UnsafeWeightsError when `count` more bytes are too many."""
        self.left -= count
        if self.left < 0:
            refuse("the tensors would take many times the size of the file")


def materialise(ref: TensorRef, read_storage: Callable[[Storage], bytes | memoryview], big_endian: bool,
                budget: Budget) -> np.ndarray:
    """Return the tensor as an array in native byte order, bfloat16 as float32; it may share the storage's memory."""
    width = itemsize(ref.code)
    budget.spend(math.prod(ref.shape) * (4 if ref.code == BFLOAT16 else width))
    code = "u2" if ref.code == BFLOAT16 else "u1" if ref.code == "?" else ref.code
    raw = read_storage(ref.storage)
    if len(raw) != ref.storage.numel * itemsize(ref.storage.code):
        refuse(f"storage {ref.storage.key} has {len(raw)} bytes, {ref.storage.numel * itemsize(ref.storage.code)} expected")
    flat = np.frombuffer(raw, np.dtype(code).newbyteorder(">" if big_endian else "<"), count=len(raw) // width)
    view = np.lib.stride_tricks.as_strided(flat[ref.storage.start + ref.offset:] if math.prod(ref.shape) else flat,
                                           ref.shape, [s * width for s in ref.strides], writeable=False)
    # as_strided keeps a 0-d shape, ascontiguousarray would not.
    array = np.require(view, dtype=np.dtype(code), requirements="C")
    if ref.code == BFLOAT16:
        return widen_bfloat16(array)
    return array != 0 if ref.code == "?" else array

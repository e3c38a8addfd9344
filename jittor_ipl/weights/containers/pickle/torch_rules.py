"""PyTorch's tensors in pickles: the allow-list for them, each checked to stay inside its storage."""
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jittor_ipl.weights.containers.bfloat16 import BFLOAT16
from jittor_ipl.weights.containers.limits import described, refuse, shown
from jittor_ipl.weights.containers.pickle.numpy_rules import SCALAR_TYPES, Shape, sizes
from jittor_ipl.weights.containers.pickle.objects import RECORD, Global, Record, Rule, RuleTable, look_up
from jittor_ipl.weights.containers.pickle.rules import RULES

_STORAGES = {"FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": BFLOAT16, "DoubleStorage": "f8",
             "LongStorage": "i8", "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1",
             "BoolStorage": "?", "UntypedStorage": "u1", "ComplexFloatStorage": "c8", "ComplexDoubleStorage": "c16"}
_TYPES = {**SCALAR_TYPES, "bool": "?", "bfloat16": BFLOAT16, "float": "f4", "half": "f2", "double": "f8", "long": "i8",
          "int": "i4", "short": "i2", "cfloat": "c8"}
_FOREIGN_STORAGES = ("QUInt8Storage", "QInt8Storage", "QInt32Storage", "QUInt4x2Storage", "QUInt2x4Storage",
                     "ComplexHalfStorage")
_FOREIGN_TYPES = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu",
                  "float4_e2m1fn_x2", "complex32", "chalf", "quint8", "qint8", "qint32", "quint4x2", "quint2x4",
                  *(f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8)),
                  *(f"bits{size}" for size in ("1x8", "2x4", "4x2", "8", "16")))
_FOREIGN_TENSORS = {
    "_rebuild_qtensor": "quantised", "_rebuild_sparse_tensor": "sparse", "_rebuild_sparse_csr_tensor": "sparse (CSR)",
    "_rebuild_meta_tensor_no_storage": "meta (a shape without numbers)", "_rebuild_nested_tensor": "nested",
    "_rebuild_device_tensor_from_numpy": "device-specific", "_rebuild_device_tensor_from_cpu_tensor": "device-specific",
    "_rebuild_wrapper_subclass": "special (a wrapper subclass)"}

_BITS = {"neg": ("negated", ".resolve_neg()"), "conj": ("conjugated", ".resolve_conj()")}


def itemsize(code: str) -> int:
    """Return the bytes of one element of a type code of this module."""
    return 2 if code == BFLOAT16 else np.dtype(code).itemsize


@dataclass
class Carried:
    """Where the bytes of a storage are that a stream nested in a pickle carries along; known once that is read."""

    region: tuple = ()


@dataclass(frozen=True)
class Storage:
    """A run of `numel` elements of type `code`, found under `key`; `start` elements into that record.

    `carried` leads to its bytes where a stream nested in the pickle has them; None means the file's record `key`.
    """

    key: str
    code: str
    numel: int
    start: int = 0
    carried: Carried | None = field(default=None, compare=False)

    @property
    def nbytes(self) -> int:
        """Bytes of the whole record."""
        return self.numel * itemsize(self.code)


@dataclass(frozen=True)
class TensorRef:
    """A tensor not yet read: a strided view of a storage, in elements of `code`."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    code: str


def storage_from_id(identifier: Any) -> Storage:
    """Return the storage that a persistent id names: ("storage", type, key, device, numel[, view]).

    Raises UnsafeWeightsError for anything else.
    """
    if not isinstance(identifier, tuple) or len(identifier) not in (5, 6) or \
            not (isinstance(identifier[0], str) and identifier[0] == "storage"):
        refuse("a persistent id that is no storage")
    kind, key, _, numel = identifier[1:5]
    if type(key) is int and 0 <= key < 10**9:       # jt.save numbers its storages, PyTorch writes the number as text
        key = str(key)
    if not isinstance(kind, Global) or kind.name not in _STORAGES or not isinstance(key, str):
        refuse(f"storages of type {kind}; only plain numbers are read" if isinstance(kind, Global) else
               "a storage without type or key")
    if not key or not all(part.isalnum() for part in key.split("_")) or not key.isascii():
        refuse(f"a storage with the odd key {shown(key)}")
    (numel,) = sizes((numel,))
    start = 0
    if len(identifier) == 6 and identifier[5] is not None:     # legacy files: a window of a larger storage
        if not isinstance(identifier[5], tuple) or len(identifier[5]) != 3:
            refuse("a storage window that is none")
        start, length = sizes(identifier[5][1:])
        if start + length > numel:
            refuse("a storage window beyond its storage")
    return Storage(key, _STORAGES[kind.name], numel, start)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any = False, _hooks: Any = None,
            metadata: Any = None) -> TensorRef:
    _check_metadata(metadata)
    return _typed(storage, offset, shape, strides, storage.code if isinstance(storage, Storage) else "")


def _tensor_v3(storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any, _hooks: Any, kind: Any,
               metadata: Any = None) -> TensorRef:
    _check_metadata(metadata)
    if not isinstance(kind, Global) or kind.name not in _TYPES:
        refuse(f"a tensor of type {kind}; only plain numbers are read" if isinstance(kind, Global) else
               "a tensor without type")
    return _typed(storage, offset, shape, strides, _TYPES[kind.name])


def _check_metadata(metadata: Any) -> None:
    """Refuse what says that the numbers are not those in the storage: PyTorch's negation and conjugation bits."""
    if metadata is None or (isinstance(metadata, dict) and not metadata):
        return
    known = [bit for name, bit in _BITS.items() if isinstance(metadata, dict) and name in metadata]
    if not known:
        first = next(iter(metadata)) if isinstance(metadata, dict) else metadata
        refuse(f"a tensor with the metadata {described(first)}, which is not known here")
    how, calls = " and ".join(name for name, _ in known), "".join(call for _, call in known)
    refuse(f"a tensor that is stored {how}; save it again after tensor{calls}")


def _typed(storage: Any, offset: Any, shape: Any, strides: Any, code: str) -> TensorRef:
    if not isinstance(storage, Storage):
        refuse("a tensor without storage")
    shape, strides, (offset,) = sizes(shape), sizes(strides), sizes((offset,))
    if len(shape) != len(strides):
        refuse("a tensor whose shape and strides differ in length")
    if storage.start and code != storage.code:
        refuse("a window of a storage seen as another type")
    last = offset + storage.start + sum((n - 1) * s for n, s in zip(shape, strides))
    if math.prod(shape) and (last + 1) * itemsize(code) > storage.nbytes:
        refuse(f"a tensor of shape {list(shape)} reaches beyond its storage")
    return TensorRef(storage, offset, shape, strides, code)


def _first(value: Any, *_: Any) -> Any:
    return value


def _from_type(function: Any, _kind: Any, arguments: Any, _state: Any) -> Any:
    """Rebuild a tensor that carries attributes (or is a Parameter): the tensor alone."""
    if not isinstance(function, Global) or not function.name.startswith("_rebuild_") or function.rule.call is None:
        refuse("a tensor of a special class")
    return function.rule.call(*arguments) if isinstance(arguments, tuple) else refuse("a tensor without arguments")


def _foreign(description: str) -> Callable[..., Any]:
    return lambda *_: refuse(f"the file holds a {description} tensor; only dense tensors of plain numbers are read")


def _device(*parts: Any) -> str:
    """`torch.device("cuda", 0)` as the text "cuda:0"."""
    return ":".join(described(part).strip("'") for part in parts[:2])


TORCH_RULES: RuleTable = {
    ("torch._utils", "_rebuild_tensor"): Rule(call=_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Rule(call=_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): Rule(call=_tensor_v3),
    **{("torch._utils", name): Rule(call=_foreign(what)) for name, what in _FOREIGN_TENSORS.items()},
    **{("torch._utils", name): Rule(call=_first) for name in ("_rebuild_parameter", "_rebuild_parameter_with_state")},
    **{("torch._tensor", name): Rule(call=_from_type) for name in ("_rebuild_from_type", "_rebuild_from_type_v2")},
    **{("torch.nn.parameter", name): Rule(call=_first) for name in ("Parameter", "Buffer")},
    ("torch", "Tensor"): Rule(),
    ("torch", "Size"): Rule(call=Shape),
    ("torch", "device"): Rule(call=_device),
    ("torch.storage", "UntypedStorage"): Rule(),
    ("torch.torch_version", "TorchVersion"): RECORD,
    **{("torch.jit._pickle", name): Rule(call=_first) for name in (
        "build_intlist", "build_doublelist", "build_boollist", "build_tensorlist", "restore_type_tag")},
    **{(module, name): Rule() for name in (*_STORAGES, *_FOREIGN_STORAGES) for module in ("torch", "torch.cuda")},
    **{("torch", name): Rule() for name in (*_TYPES, *_FOREIGN_TYPES)},
}
find_torch_rule = look_up(TORCH_RULES, RULES)


def find_script_rule(module: str, name: str) -> Rule | None:
    """Return the rule for a global of a TorchScript archive, whose own classes all live below `__torch__`."""
    if module == "__torch__" or module.startswith("__torch__."):
        return Rule(new=Record)
    return find_torch_rule(module, name)

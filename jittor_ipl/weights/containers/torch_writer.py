"""PyTorch's zip format written without PyTorch: `torch.load(weights_only=True)` and this package read it.

An archive of stored records: `data.pkl` (protocol 2, the objects), `data/<n>` (one storage per tensor, little-endian,
at 64-byte boundaries as PyTorch lays them for memory mapping), `byteorder`, `version`. Equal inputs give equal bytes.
"""
from __future__ import annotations

import math
import os
import struct
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO

import numpy as np

from jittor_ipl.disk.atomic import staged
from jittor_ipl.weights.containers.bfloat16 import Bfloat16

_FOLDER, _ALIGNMENT, _LOCAL_HEADER, _EXTRA_HEADER = "archive", 64, 30, 4
_EPOCH = (1980, 1, 1, 0, 0, 0)          # the earliest time a zip record can carry
_STORAGES = {"float32": "Float", "float16": "Half", "bfloat16": "BFloat16", "float64": "Double", "int64": "Long",
             "int32": "Int", "int16": "Short", "int8": "Char", "uint8": "Byte", "bool": "Bool"}
_UNTYPED = ("uint16", "uint32", "uint64")   # PyTorch gave these no storage class of their own


def write_torch(path: str | os.PathLike, tree: Mapping[str, Any]) -> None:
    """Write `tree` (dictionaries, lists, tuples, texts, numbers, None, arrays, `Bfloat16`) as a .pt file, atomically.

    Raises UserError when the file cannot be written.
    """
    storages: list[np.ndarray | Bfloat16] = []
    code = b"\x80\x02" + _code(tree, storages) + b"."
    with staged(path) as temporary, open(temporary, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        _write_record(archive, file, "data.pkl", code)
        _write_record(archive, file, "byteorder", b"little")
        for key, array in enumerate(storages):
            _write_record(archive, file, f"data/{key}", _bytes_of(array))
        _write_record(archive, file, "version", b"3\n")


def _write_record(archive: zipfile.ZipFile, file: BinaryIO, name: str, data: "bytes | memoryview") -> None:
    """Append one record whose data begin at a multiple of 64 bytes; the extra field "FB" is PyTorch's padding."""
    info = zipfile.ZipInfo(f"{_FOLDER}/{name}", _EPOCH)
    info.create_system, info.file_size = 0, len(data)
    used = file.tell() + _LOCAL_HEADER + len(info.filename) + _EXTRA_HEADER
    padding = -used % _ALIGNMENT
    info.extra = struct.pack("<2sH", b"FB", padding) + b"Z" * padding
    with archive.open(info, "w") as record:
        record.write(data)


def _bytes_of(array: "np.ndarray | Bfloat16") -> "bytes | memoryview":
    values = array.bits if isinstance(array, Bfloat16) else array
    values = np.require(values, dtype=values.dtype.newbyteorder("<"), requirements="C")
    return memoryview(values.reshape(-1).view("u1")) if values.size else b""


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def _code(value: Any, storages: "list[np.ndarray | Bfloat16]") -> bytes:
    """Return the pickle opcodes that build `value`; its tensors' numbers are added to `storages`.

    Without a memo nothing is shared, so equal trees give equal bytes.
    """
    def joined(parts: Iterable[Any]) -> bytes:
        return b"".join(_code(part, storages) for part in parts)

    if isinstance(value, (np.ndarray, np.generic, Bfloat16)):
        return _tensor(np.asarray(value) if isinstance(value, np.generic) else value, storages)
    if isinstance(value, Mapping):
        return b"}(" + joined(part for entry in value.items() for part in entry) + b"u"
    if isinstance(value, list):
        return b"](" + joined(value) + b"e"
    if isinstance(value, tuple):
        return b"(" + joined(value) + b"t"
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        return _integer(value)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    assert isinstance(value, str), f"cannot store a {type(value).__name__}"
    text = value.encode("utf-8")
    return b"X" + len(text).to_bytes(4, "little") + text


def _integer(value: int) -> bytes:
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -2**31 <= value < 2**31:
        return b"J" + value.to_bytes(4, "little", signed=True)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def _tensor(array: "np.ndarray | Bfloat16", storages: "list[np.ndarray | Bfloat16]") -> bytes:
    """_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict()), or _v3 with a type at the end.

    The storage is the persistent id ("storage", type, key, "cpu", number of elements).
    """
    kind, shape = array.dtype.name, tuple(array.shape)
    untyped = kind in _UNTYPED
    assert untyped or kind in _STORAGES, f"cannot store {kind}"
    holder = _global("torch.storage", "UntypedStorage") if untyped else _global("torch", f"{_STORAGES[kind]}Storage")
    strides = tuple(math.prod(max(size, 1) for size in shape[axis + 1:]) for axis in range(len(shape)))

    def codes(*values: Any) -> bytes:
        return b"".join(_code(value, storages) for value in values)

    size = array.nbytes if untyped else array.size
    storage = b"(" + codes("storage") + holder + codes(str(len(storages)), "cpu", size) + b"tQ"
    storages.append(array)
    hooks = _global("collections", "OrderedDict") + b")R"
    return (_global("torch._utils", "_rebuild_tensor_v3" if untyped else "_rebuild_tensor_v2") + b"(" + storage
            + codes(0, shape, strides, False) + hooks + (_global("torch", kind) if untyped else b"") + b"tR")

"""PyTorch's zip format written without PyTorch: `torch.load(weights_only=True)` and this package read it.

An archive of stored records: `data.pkl` (protocol 2, the objects), `data/<n>` (one storage per tensor, little-endian,
at 64-byte boundaries as PyTorch lays them for memory mapping), `byteorder`, `version`. Equal inputs give equal bytes.
"""
from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Mapping
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
    emitter = _Emitter()
    emitter.dump(tree)
    with staged(path) as temporary, open(temporary, "wb") as file, zipfile.ZipFile(file, "w") as archive:
        _write_record(archive, file, "data.pkl", bytes(emitter.code))
        _write_record(archive, file, "byteorder", b"little")
        for key, array in enumerate(emitter.storages):
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


class _Emitter:
    """Writes objects as pickle opcodes, without a memo: nothing is shared, so equal trees give equal bytes."""

    def __init__(self) -> None:
        self.code = bytearray(b"\x80\x02")
        self.storages: list[np.ndarray | Bfloat16] = []

    def dump(self, tree: Any) -> None:
        self.value(tree)
        self.code += b"."

    def value(self, value: Any) -> None:
        if isinstance(value, (np.ndarray, np.generic, Bfloat16)):
            self.tensor(np.asarray(value) if isinstance(value, np.generic) else value)
        elif isinstance(value, Mapping):
            self.code += b"}("
            for name, part in value.items():
                self.value(name)
                self.value(part)
            self.code += b"u"
        elif isinstance(value, list):
            self.code += b"]("
            for part in value:
                self.value(part)
            self.code += b"e"
        elif isinstance(value, tuple):
            self.tuple(value)
        else:
            self.scalar(value)

    def tuple(self, parts: tuple) -> None:
        self.code += b"("
        for part in parts:
            self.value(part)
        self.code += b"t"

    def scalar(self, value: Any) -> None:
        if value is None or isinstance(value, bool):
            self.code += {None: b"N", True: b"\x88", False: b"\x89"}[value]
        elif isinstance(value, int):
            self.integer(value)
        elif isinstance(value, float):
            self.code += b"G" + struct.pack(">d", value)
        else:
            assert isinstance(value, str), f"cannot store a {type(value).__name__}"
            text = value.encode("utf-8")
            self.code += b"X" + len(text).to_bytes(4, "little") + text

    def integer(self, value: int) -> None:
        if 0 <= value < 256:
            self.code += b"K" + bytes([value])
        elif -2**31 <= value < 2**31:
            self.code += b"J" + value.to_bytes(4, "little", signed=True)
        else:
            data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            self.code += b"\x8a" + bytes([len(data)]) + data

    def named(self, module: str, name: str) -> None:
        self.code += f"c{module}\n{name}\n".encode()

    def tensor(self, array: "np.ndarray | Bfloat16") -> None:
        """_rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict()), or _v3 with a type at the end."""
        kind = array.dtype.name
        untyped = kind in _UNTYPED
        assert untyped or kind in _STORAGES, f"cannot store {kind}"
        self.named("torch._utils", "_rebuild_tensor_v3" if untyped else "_rebuild_tensor_v2")
        self.code += b"("
        self.storage("Untyped" if untyped else _STORAGES[kind], array.nbytes if untyped else array.size)
        self.integer(0)
        self.tuple(tuple(array.shape))
        self.tuple(_strides(array.shape))
        self.code += b"\x89"
        self.named("collections", "OrderedDict")
        self.code += b")R"
        if untyped:
            self.named("torch", kind)
        self.code += b"tR"
        self.storages.append(array)

    def storage(self, kind: str, count: int) -> None:
        """The persistent id ("storage", type, key, "cpu", number of elements)."""
        self.code += b"("
        self.scalar("storage")
        self.named("torch.storage" if kind == "Untyped" else "torch", f"{kind}Storage")
        for part in (str(len(self.storages)), "cpu", count):
            self.value(part)
        self.code += b"tQ"


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the strides, in elements, of an array without gaps."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= max(size, 1)
    return tuple(reversed(strides))

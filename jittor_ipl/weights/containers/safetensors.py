"""safetensors files: a validating reader and an atomic, byte-reproducible writer.

The format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes back to back. The reader
accepts nothing that could be read in two ways. The `safetensors` package checks the header; here is what that lets
pass: names that occur twice, entries with further keys or written as lists, space before the header, more axes than
NumPy has, types that NumPy lacks, and headers that become many times their size in memory. The tensors are taken from
the file here, for NumPy has no bfloat16, and a mapped file that is cut short ends the process.
"""
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import numpy as np
import safetensors

from jittor_ipl.disk.atomic import staged
from jittor_ipl.weights.containers.bfloat16 import BFLOAT16, Bfloat16
from jittor_ipl.weights.containers.lazy import LazyArray, LazyTensors
from jittor_ipl.weights.containers.limits import Meter, UnsafeWeightsError, shown
from jittor_ipl.weights.containers.source import ByteSource

MAX_HEADER_BYTES = 100_000_000  # the limit of the package
_MAX_RANK = 32                  # NumPy 1.x
CODES = {"BOOL": "?", "U8": "<u1", "I8": "<i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
         "U64": "<u8", "I64": "<i8", "F16": "<f2", "BF16": BFLOAT16, "F32": "<f4", "F64": "<f8", "C64": "<c8"}
_BRACE, _QUOTE = 700, 40        # bytes of memory that an entry, and each text in it, may take in all
_NAMES = {np.dtype(code): name for name, code in CODES.items() if name != "BF16"}


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the tensors (file order, BF16 widened to float32) and the string metadata of a safetensors file.

    Raises UserError in one line when the file is missing or breaks the specification in any way.
    """
    source = ByteSource(path)
    with source.naming_errors():
        tensors, metadata = open_safetensors(source)
        return {name: entry.load() for name, entry in tensors.entries.items()}, metadata


def open_safetensors(source: ByteSource) -> tuple[LazyTensors, dict[str, str]]:
    """Return the tensors, to be read one at a time, and the metadata; raises UnsafeWeightsError for any breach."""
    if source.size < 8:
        _refuse(f"{source.size} bytes are too few for a header")
    length = int.from_bytes(source.read(0, 8), "little")
    if length > min(MAX_HEADER_BYTES, source.size - 8):
        _refuse(f"its header claims {length} bytes, {source.size - 8} are left, the limit is {MAX_HEADER_BYTES}")
    _pay(bytes(source.read(8, length)), Meter(source.size))
    try:
        _check_with_package(source)
        content = json.loads(str(source.read(8, length), "utf-8"), object_pairs_hook=_unique)
    except UnsafeWeightsError:
        raise
    except (safetensors.SafetensorError, ValueError) as error:
        _refuse(_cut_short(source, length) or
                shown(str(error).removeprefix("Error while deserializing header: "), 200), error)
    metadata = content.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        _refuse("__metadata__ must map strings to strings")
    entries = {name: _entry(name, value, source, 8 + length) for name, value in content.items()}
    return LazyTensors(entries, source.name), metadata


def _pay(header: bytes, meter: Meter) -> None:
    """Refuse a header that would take too much memory when it is parsed; signs inside texts count as well."""
    if header[:1] != b"{":
        _refuse("the header does not start with '{'")
    wide = not header.isascii() or b"\\u" in header     # such texts may take four bytes per letter
    try:
        meter.spend((5 if wide else 2) * len(header) + _BRACE * header.count(b"{") + _QUOTE * header.count(b'"'))
    except UnsafeWeightsError as error:
        _refuse(str(error), error)


def _cut_short(source: ByteSource, length: int) -> str:
    """Return what is missing of a file that ends before its last tensor; "" for any other fault."""
    with suppress(UnsafeWeightsError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        content = json.loads(str(source.read(8, length), "utf-8"), object_pairs_hook=_unique)
        end = 8 + length + max(entry["data_offsets"][1] for name, entry in content.items() if name != "__metadata__")
        if end > source.size:
            return f"it should have {end:,} bytes and has {source.size:,}; fetch it again"
    return ""


def _check_with_package(source: ByteSource) -> None:
    """Raise SafetensorError unless types and shapes are known and the tensors tile the file exactly."""
    if source.path is None:
        safetensors.deserialize(bytes(source.read(0, source.size)))
    else:
        with safetensors.safe_open(source.path, "numpy", backend="pread"):      # reads the header alone
            pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in mapping if names.count(name) > 1)
        _refuse(f"the name {twice[:100]!a} occurs twice in the header")
    return mapping


def _entry(name: str, value: Any, source: ByteSource, start: int) -> LazyArray:
    label = f"tensor {name[:100]!a}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        _refuse(f"{label} must have exactly dtype, shape and data_offsets")
    if value["dtype"] not in CODES:
        _refuse(f"{label} has the type {value['dtype']}, which NumPy cannot hold")
    if len(value["shape"]) > _MAX_RANK:
        _refuse(f"{label} has {len(value['shape'])} axes, NumPy holds {_MAX_RANK}")
    (begin, end), code, shape = value["data_offsets"], CODES[value["dtype"]], tuple(value["shape"])
    dtype = np.dtype("f4" if code == BFLOAT16 else code).newbyteorder("=")
    load = partial(_load, source, start + begin, end - begin, code, shape)
    return LazyArray(shape, dtype, BFLOAT16 if code == BFLOAT16 else dtype.name, load)


def _load(source: ByteSource, start: int, count: int, code: str, shape: tuple[int, ...]) -> np.ndarray:
    return source.numbers(start, count, code).reshape(shape)


def _refuse(problem: str, cause: Exception | None = None) -> NoReturn:
    raise UnsafeWeightsError(f"not a valid safetensors file: {problem}") from cause


def write_safetensors(path: str | os.PathLike, tensors: "Mapping[str, np.ndarray | Bfloat16]",
                      metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors` atomically; equal inputs give equal bytes whatever the order of the mappings.

    Raises UserError when the file cannot be written. Metadata values must be strings (a rule of the format).
    """
    header, arrays = _layout(tensors, metadata or {})
    with staged(path) as temporary, open(temporary, "wb") as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for array in arrays:
            file.write(array.data if array.size and array.ndim else array.tobytes())


def _layout(tensors: "Mapping[str, np.ndarray | Bfloat16]",
            metadata: Mapping[str, str]) -> tuple[bytes, list[np.ndarray]]:
    """Return the padded header and the arrays in file order: wide types first, so that all stay aligned."""
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in metadata.items()), "metadata must be strings"
    kinds = {name: "BF16" if isinstance(value, Bfloat16) else "" for name, value in tensors.items()}
    arrays = {name: _little_endian(name, value.bits if isinstance(value, Bfloat16) else np.asarray(value))
              for name, value in tensors.items()}
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in order:
        begin, end = end, end + arrays[name].nbytes
        header[name] = {"dtype": kinds[name] or _NAMES[arrays[name].dtype], "shape": list(arrays[name].shape),
                        "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8), [arrays[name] for name in order]


def _little_endian(name: str, array: np.ndarray) -> np.ndarray:
    dtype = array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else array.dtype
    assert isinstance(name, str) and name != "__metadata__" and dtype in _NAMES, f"cannot store {name}: {array.dtype}"
    return np.require(array, dtype=dtype, requirements="C")

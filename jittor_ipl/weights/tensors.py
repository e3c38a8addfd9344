"""safetensors files: a validating reader and an atomic, byte-reproducible writer, on NumPy alone.

The format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes back to back. The reader
accepts nothing that could be read in two ways: no gaps, no overlap, no trailing bytes, no duplicate names.
"""
from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from jittor_ipl.atomic import staged
from jittor_ipl.errors import UserError

from .bfloat16 import Bfloat16

MAX_HEADER_BYTES = 100_000_000  # the limit of the reference implementation
_MAX_RANK = 32                  # NumPy 1.x
_DTYPES = {"BOOL": "?", "U8": "<u1", "I8": "<i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
           "U64": "<u8", "I64": "<i8", "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items() if name != "BF16"}


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the tensors (file order, BF16 widened to float32) and the string metadata of a safetensors file.

    Raises UserError in one line when the file is missing or breaks the specification in any way.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            entries, metadata, start = _read_header(file, size)
            return {name: _read_tensor(file, start, *entry) for name, entry in entries.items()}, metadata
    except _Invalid as error:
        raise UserError(f"{path} is not a valid safetensors file: {error}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


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


def _layout(tensors: "Mapping[str, np.ndarray | Bfloat16]", metadata: Mapping[str, str]) -> tuple[bytes, list[np.ndarray]]:
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


class _Invalid(Exception):
    """A breach of the specification; the public reader adds the path."""


def _check(condition: bool, problem: str) -> None:
    if not condition:
        raise _Invalid(problem)


def _read_header(file: BinaryIO, size: int) -> tuple[dict[str, tuple], dict[str, str], int]:
    _check(size >= 8, f"{size} bytes are too few for a header")
    length = int.from_bytes(file.read(8), "little")
    _check(length <= MAX_HEADER_BYTES, f"the header claims {length} bytes, the limit is {MAX_HEADER_BYTES}")
    _check(8 + length <= size, f"the header claims {length} bytes, the file has {size - 8} left")
    header = _parse_json(file.read(length))
    metadata = header.pop("__metadata__", {})
    _check(isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values()),
           "__metadata__ must map strings to strings")
    entries = {name: _parse_entry(name, entry) for name, entry in header.items()}
    _check_offsets(entries, size - 8 - length)
    return entries, metadata, 8 + length


def _parse_json(data: bytes) -> dict:
    _check(data.startswith(b"{"), "the header does not start with '{'")
    try:
        header = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # ValueError: JSON, UTF-8, integers of thousands of digits
        raise _Invalid(f"the header is not JSON: {str(error)[:120]}") from error
    _check(isinstance(header, dict), "the header is not a JSON object")
    return header


def _unique(pairs: list[tuple[str, Any]]) -> dict:
    mapping = dict(pairs)
    _check(len(mapping) == len(pairs), "a name occurs twice in the header")
    try:
        "".join(mapping).encode("utf-8")
    except UnicodeEncodeError as error:
        raise _Invalid("a name in the header is not valid Unicode") from error
    return mapping


def _no_constant(name: str) -> None:
    raise _Invalid(f"the header holds {name}")


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _parse_entry(name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """Return (type name, shape, begin, end) of one header entry, checked against itself."""
    label = f"tensor {name[:100]!r}"
    _check(isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"},
           f"{label} must have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    _check(isinstance(dtype, str) and dtype in _DTYPES, f"{label} has the unsupported type {str(dtype)[:20]!r}")
    _check(isinstance(shape, list) and len(shape) <= _MAX_RANK and all(map(_is_size, shape)),
           f"{label} has an impossible shape")
    _check(isinstance(offsets, list) and len(offsets) == 2 and all(map(_is_size, offsets)),
           f"{label} has impossible offsets")
    itemsize = np.dtype(_DTYPES[dtype]).itemsize
    _check(math.prod(max(n, 1) for n in shape) * itemsize < 2**63, f"{label} has a shape that overflows")
    _check(offsets[1] - offsets[0] == math.prod(shape) * itemsize,
           f"{label}: {dtype} {shape} does not fill its {offsets[1] - offsets[0]} bytes")
    return dtype, tuple(shape), offsets[0], offsets[1]


def _check_offsets(entries: dict[str, tuple], size: int) -> None:
    """Raise unless the tensors tile the data section exactly."""
    position = 0
    for name, (_, _, begin, end) in sorted(entries.items(), key=lambda item: item[1][2:]):
        _check(begin == position, f"tensor {name[:100]!r} leaves a gap or overlaps another (byte {position})")
        position = end
    _check(position == size, f"the tensors take {position} bytes, the file holds {size}")


def _read_tensor(file: BinaryIO, start: int, dtype: str, shape: tuple[int, ...], begin: int, end: int) -> np.ndarray:
    array = np.empty(shape, dtype=_DTYPES[dtype] if dtype != "BOOL" else "u1")
    if array.size:
        file.seek(start + begin)
        _check(file.readinto(array.reshape(-1).view("u1")) == end - begin, "the file became shorter while reading")
    if dtype == "BF16":
        return widen_bfloat16(array)
    return array != 0 if dtype == "BOOL" else array.astype(array.dtype.newbyteorder("="), copy=False)


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Return float32 from the uint16 bit patterns of bfloat16 values; exact, bfloat16 being float32's upper half."""
    return (bits.astype(np.uint32) << 16).view(np.float32)

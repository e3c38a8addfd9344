"""The header of a safetensors file: checked by the `safetensors` package, and here for what that lets pass.

It lets pass names that occur twice, entries with further keys or written as lists, space before the header, more axes
than NumPy has, types that NumPy lacks, and headers that become many times their size in memory.
"""
from __future__ import annotations

import json
from typing import Any, NamedTuple, NoReturn

import safetensors

from jittor_ipl.weights.containers.limits import Meter, UnsafeWeightsError, shown
from jittor_ipl.weights.containers.source import ByteSource

MAX_HEADER_BYTES = 100_000_000  # the limit of the package
_MAX_RANK = 32                  # NumPy 1.x
CODES = {"BOOL": "?", "U8": "<u1", "I8": "<i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
         "U64": "<u8", "I64": "<i8", "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8", "C64": "<c8"}
_BRACE, _QUOTE = 700, 40        # bytes of memory that an entry, and each text in it, may take in all


class Entry(NamedTuple):
    """One tensor: its type's name, its shape, and where its bytes lie in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(source: ByteSource) -> tuple[dict[str, Entry], dict[str, str]]:
    """Return the entries in file order and the metadata; raises UnsafeWeightsError for any breach of the format."""
    if source.size < 8:
        _refuse(f"{source.size} bytes are too few for a header")
    length = int.from_bytes(source.read(0, 8), "little")
    if length > min(MAX_HEADER_BYTES, source.size - 8):
        _refuse(f"the header claims {length} bytes, the file has {source.size - 8} left, the limit is {MAX_HEADER_BYTES}")
    _pay(bytes(source.read(8, length)), Meter(source.size))
    try:
        _check_with_package(source)
        content = json.loads(str(source.read(8, length), "utf-8"), object_pairs_hook=_unique)
    except (safetensors.SafetensorError, ValueError) as error:
        _refuse(shown(str(error).removeprefix("Error while deserializing header: "), 200), error)
    metadata = content.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        _refuse("__metadata__ must map strings to strings")
    return {name: _entry(name, value, 8 + length) for name, value in content.items()}, metadata


def _pay(header: bytes, meter: Meter) -> None:
    """Refuse a header that would take too much memory when it is parsed; signs inside texts count as well."""
    if header[:1] != b"{":
        _refuse("the header does not start with '{'")
    wide = not header.isascii() or b"\\u" in header     # such texts may take four bytes per letter
    try:
        meter.spend((5 if wide else 2) * len(header) + _BRACE * header.count(b"{") + _QUOTE * header.count(b'"'))
    except UnsafeWeightsError as error:
        _refuse(str(error), error)


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
        _refuse(f"the name {next(name for name in mapping if names.count(name) > 1)[:100]!a} occurs twice in the header")
    return mapping


def _entry(name: str, value: Any, start: int) -> Entry:
    label = f"tensor {name[:100]!a}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        _refuse(f"{label} must have exactly dtype, shape and data_offsets")
    if value["dtype"] not in CODES:
        _refuse(f"{label} has the type {value['dtype']}, which NumPy cannot hold")
    if len(value["shape"]) > _MAX_RANK:
        _refuse(f"{label} has {len(value['shape'])} axes, NumPy holds {_MAX_RANK}")
    begin, end = value["data_offsets"]
    return Entry(value["dtype"], tuple(value["shape"]), start + begin, start + end)


def _refuse(problem: str, cause: Exception | None = None) -> NoReturn:
    raise UnsafeWeightsError(f"not a valid safetensors file: {problem}") from cause

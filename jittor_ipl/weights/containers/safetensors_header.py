"""The header of a safetensors file: 8 bytes little-endian length, then JSON that must describe the rest exactly.

Nothing that could be read in two ways is accepted: no gaps, no overlap, no trailing bytes, no duplicate names. The JSON
is taken apart entry by entry, because a parser of arbitrary JSON would build 20 times the header's size in objects.
"""
from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from jittor_ipl.weights.containers.limits import Meter, UnsafeWeightsError
from jittor_ipl.weights.containers.source import Source

MAX_HEADER_BYTES = 100_000_000  # the limit of the reference implementation
_MAX_RANK = 32                  # NumPy 1.x
CODES = {"BOOL": "?", "U8": "<u1", "I8": "<i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
         "U64": "<u8", "I64": "<i8", "F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8", "C64": "<c8"}
# Types of the specification that NumPy has no equal for; nothing here needs them.
_FOREIGN = ("F4", "F6_E2M3", "F6_E3M2", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E5M2FNUZ", "F8_E4M3FNUZ")
_SPACE = re.compile(rb"[ \t\n\r]*")
_PLAIN_ENTRY = re.compile(rb"\{[^{}]{0,4000}\}")
_ENTRY_COST = 900               # bytes of memory per entry


class Invalid(Exception):
    """A breach of the specification."""


class Entry(NamedTuple):
    """One tensor: its type's name, its shape, and where its bytes lie behind the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(source: Source) -> tuple[dict[str, Entry], dict[str, str], int]:
    """Return the entries in file order, the metadata, and where the tensors' bytes start; raises Invalid."""
    _check(source.size >= 8, f"{source.size} bytes are too few for a header")
    length = int.from_bytes(source.read(0, 8), "little")
    _check(length <= MAX_HEADER_BYTES, f"the header claims {length} bytes, the limit is {MAX_HEADER_BYTES}")
    _check(8 + length <= source.size, f"the header claims {length} bytes, the file has {source.size - 8} left")
    try:
        entries, metadata = _Scanner(bytes(source.read(8, length)), Meter(source.size)).header()
    except UnsafeWeightsError as error:
        raise Invalid(str(error)) from error
    _check_offsets(entries, source.size - 8 - length)
    return entries, metadata, 8 + length


class _Scanner:
    """Reads the header's JSON from left to right."""

    def __init__(self, data: bytes, meter: Meter) -> None:
        self._data, self._at, self._meter = data, 0, meter

    def header(self) -> tuple[dict[str, Entry], dict[str, str]]:
        _check(self._data[:1] == b"{", "the header does not start with '{'")
        entries: dict[str, Entry] = {}
        metadata: dict[str, str] | None = None
        for name in self._members():
            if name == "__metadata__":
                _check(metadata is None, "__metadata__ occurs twice in the header")
                metadata = self._metadata()
            else:
                _check(name not in entries, f"the name {name[:100]!a} occurs twice in the header")
                entries[name] = self._entry(name)
        self._skip_space()
        _check(self._at == len(self._data), "something follows the header's JSON")
        return entries, metadata or {}

    def _metadata(self) -> dict[str, str]:
        result: dict[str, str] = {}
        for name in self._members():
            _check(name not in result, f"{name[:100]!a} occurs twice in __metadata__")
            result[name] = self._string("__metadata__ must map strings to strings")
        return result

    def _members(self) -> Iterator[str]:
        """Yield the names of an object's members; the caller takes each value before going on."""
        self._take(b"{", "__metadata__ must map strings to strings")
        if self._next_is(b"}"):
            return
        while True:
            name = self._string("a name in the header is not a string")
            self._take(b":", "the header is not JSON: a ':' is missing")
            yield name
            if self._next_is(b"}"):
                return
            self._take(b",", "the header is not JSON: a ',' is missing")

    def _entry(self, name: str) -> Entry:
        self._skip_space()
        found = _PLAIN_ENTRY.match(self._data, self._at)
        if found is None:
            raise Invalid(f"tensor {name[:100]!a} must have exactly dtype, shape and data_offsets")
        self._meter.spend(_ENTRY_COST)
        self._at = found.end()
        return _parse_entry(name, _parse_json(found.group()))

    def _string(self, problem: str) -> str:
        """Take one JSON string, paying for the text before it is made."""
        self._skip_space()
        start = self._at
        _check(self._data[start:start + 1] == b'"', problem)
        end = start
        while True:
            end = self._data.find(b'"', end + 1)
            _check(end > 0, "the header is not JSON: a string does not end")
            before = end
            while self._data[before - 1] == 0x5C:       # an odd number of backslashes makes the quote part of the text
                before -= 1
            if (end - before) % 2 == 0:
                break
        self._at = end + 1
        piece = self._data[start:end + 1]
        wide = 1 if piece.isascii() and b"\\u" not in piece else 4
        self._meter.spend(100 + (1 + wide) * len(piece))
        text = _parse_json(piece)
        _check(isinstance(text, str) and _is_unicode(text), "a text in the header is not valid Unicode")
        return text

    def _take(self, sign: bytes, problem: str) -> None:
        _check(self._next_is(sign), problem)

    def _next_is(self, sign: bytes) -> bool:
        self._skip_space()
        found = self._data[self._at:self._at + 1] == sign
        self._at += found
        return found

    def _skip_space(self) -> None:
        self._at = _SPACE.match(self._data, self._at).end()


def _check(condition: bool, problem: str) -> None:
    if not condition:
        raise Invalid(problem)


def _parse_json(data: bytes) -> Any:
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_unsigned)
    except (ValueError, RecursionError) as error:  # ValueError: JSON, UTF-8, integers of thousands of digits
        raise Invalid(f"the header is not JSON: {ascii(str(error)[:120])[1:-1]}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict:
    mapping = dict(pairs)
    _check(len(mapping) == len(pairs), "a name occurs twice in the header")
    return mapping


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:      # escapes can name lone surrogates
        return False
    return True


def _no_constant(name: str) -> None:
    raise Invalid(f"the header holds {name}")


def _unsigned(digits: str) -> int:
    _check(not digits.startswith("-"), f"the header holds the number {digits[:20]}")    # -0 is no size either
    return int(digits)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _parse_entry(name: str, entry: Any) -> Entry:
    """Return one header entry, checked against itself."""
    label = f"tensor {name[:100]!a}"
    _check(isinstance(entry, dict) and set(entry) == {"dtype", "shape", "data_offsets"},
           f"{label} must have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    _check(not isinstance(dtype, str) or dtype not in _FOREIGN, f"{label} has the type {dtype}, which NumPy cannot hold")
    _check(isinstance(dtype, str) and dtype in CODES, f"{label} has the unknown type {ascii(str(dtype)[:20])}")
    _check(isinstance(shape, list) and len(shape) <= _MAX_RANK and all(map(_is_size, shape)), f"{label} has an impossible shape")
    _check(isinstance(offsets, list) and len(offsets) == 2 and all(map(_is_size, offsets)), f"{label} has impossible offsets")
    itemsize = np.dtype(CODES[dtype]).itemsize
    _check(math.prod(max(n, 1) for n in shape) * itemsize < 2**63, f"{label} has a shape that overflows")
    _check(offsets[1] - offsets[0] == math.prod(shape) * itemsize,
           f"{label}: {dtype} {shape} does not fill its {offsets[1] - offsets[0]} bytes")
    return Entry(sys.intern(dtype), tuple(shape), offsets[0], offsets[1])


def _check_offsets(entries: dict[str, Entry], size: int) -> None:
    """Raise unless the tensors tile the data section exactly."""
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1][2:]):
        _check(entry.begin == position, f"tensor {name[:100]!a} leaves a gap or overlaps another (byte {position})")
        position = entry.end
    _check(position == size, f"the tensors take {position} bytes, the file holds {size}")

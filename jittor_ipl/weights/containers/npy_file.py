"""NumPy's files: .npy, one array behind a short header, and .npz, a zip archive of those; never arrays of objects."""
from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial

import numpy as np

from jittor_ipl.weights.containers.lazy import LazyArray
from jittor_ipl.weights.containers.limits import MEMORY_FLOOR, Meter, refuse, shown
from jittor_ipl.weights.containers.pickle.numpy_rules import NUMBER_CODES, readonly, sizes
from jittor_ipl.weights.containers.source import ByteSource
from jittor_ipl.weights.containers.zip_reader import ZipDirectory

MAGIC = b"\x93NUMPY"
_MAX_HEADER = 10_000            # NumPy's own limit
_HEAD = len(MAGIC) + 6 + _MAX_HEADER
# The header is a Python dictionary; matching its one form needs no evaluation at all.
_ITEM = {
    "descr": r"(?:'(?P<descr>[^'\\]{1,40})'|(?P<structured>\[.*\]))",
    "fortran_order": r"(?P<fortran_order>True|False)",
    "shape": r"\((?P<shape>[0-9L, ]*)\)",
}
_ANY = "|".join(rf"'{name}': ?{form}" for name, form in _ITEM.items())
_HEADER = re.compile(rf"\{{(?:(?:{_ANY}),? ?)*\}} *\n?", re.DOTALL)


def open_npy(source: ByteSource) -> LazyArray:
    """Return the array of a .npy file, to be read in native byte order.

    Raises UnsafeWeightsError for a damaged file, and for arrays of anything but plain numbers.
    """
    try:
        return _lazy(source.read(0, min(source.size, _HEAD)), source.size, lambda: source.read(0, source.size))
    except _Text:
        refuse("the .npy data are texts, plain numbers are expected")


def open_npz(source: ByteSource) -> tuple[dict[str, LazyArray], tuple[str, ...]]:
    """Return the arrays of a .npz file by name, and the names of members that hold texts, which are left out.

    Members are stored or deflated. Raises UnsafeWeightsError for damage, objects, and members that unpack to several
    times the file's size together.
    """
    archive = ZipDirectory(source, Meter(source.size))
    if sum(record.size for record in archive.records.values()) > 2 * source.size + MEMORY_FLOOR:
        refuse("the arrays in this archive unpack to several times its size; save them with numpy.savez, uncompressed")
    arrays, texts = {}, []
    for member in archive.records:
        if not member.endswith(".npy") or len(member) == 4:
            refuse(f"{shown(member)} is no member of a .npz file")
        try:
            size = archive.record(member).size
            arrays[member[:-4]] = _lazy(archive.head(member, _HEAD), size, partial(archive.read, member))
        except _Text:
            texts.append(member[:-4])
    return arrays, tuple(texts)


def _lazy(head: memoryview, size: int, read: Callable[[], memoryview]) -> LazyArray:
    """Return the array that begins with `head` and takes `size` bytes in all, which `read` returns."""
    dtype, shape, order, start = _parse(head, size)
    native = dtype.newbyteorder("=")

    def load() -> np.ndarray:
        raw = read()[start:]
        flat = np.frombuffer(raw, "u1") != 0 if dtype == np.bool_ else np.frombuffer(raw, dtype)
        return readonly(flat.astype(native, copy=False).reshape(shape, order=order))

    return LazyArray(shape, native, native.name, load, math.prod(shape) * dtype.itemsize)


class _Text(Exception):
    """An array of texts: harmless, but no tensor."""


def _parse(head: memoryview, size: int) -> tuple[np.dtype, tuple[int, ...], str, int]:
    """Return (type, shape, "C" or "F", where the numbers start) of an array that takes `size` bytes with its header."""
    width = {1: 2, 2: 4, 3: 4}.get(head[6]) if len(head) >= 12 and bytes(head[:6]) == MAGIC and head[7] == 0 else None
    if width is None:
        refuse("no .npy data of a known version")
    length, at = int.from_bytes(head[8:8 + width], "little"), 8 + width
    if length > _MAX_HEADER or at + length > len(head):
        refuse(f"the .npy header claims {length} bytes")
    found = _HEADER.fullmatch(bytes(head[at:at + length]).decode("latin-1"))
    fields = found.groupdict() if found else {}
    if fields.get("structured") is not None:
        refuse("the .npy data are a table with named columns, plain numbers are expected")
    if None in (fields.get("descr"), fields.get("fortran_order"), fields.get("shape")):
        refuse("the .npy header is damaged")
    dtype, shape = _type(fields["descr"]), _shape(fields["shape"])
    expected = math.prod(shape) * dtype.itemsize
    if size - at - length != expected:
        refuse(f"{size - at - length} bytes of numbers, {expected} expected for {dtype.name} {list(shape)}")
    return dtype, shape, "F" if fields["fortran_order"] == "True" else "C", at + length


def _type(code: str) -> np.dtype:
    letters = code.lstrip("<>|=")
    if letters[:1] == "O":
        refuse("the .npy data are Python objects, which is a pickle in disguise; save plain arrays")
    if letters[:1] in ("U", "S"):
        raise _Text
    if letters not in NUMBER_CODES or len(code) > len(letters) + 1:
        refuse(f"the .npy data are of type {shown(code, 40)}, plain numbers are expected")
    return np.dtype(code)


def _shape(text: str) -> tuple[int, ...]:
    parts = [part.strip(" L") for part in text.split(",")]
    if not parts[-1]:
        parts.pop()
    if not all(part.isdigit() and len(part) <= 19 for part in parts):
        refuse("the .npy header has an impossible shape")
    return sizes(tuple(map(int, parts)))

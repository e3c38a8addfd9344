"""NumPy's .npy files: one array behind a short header; never an array of objects, which would be a pickle."""
from __future__ import annotations

import ast
import math
import os
from typing import Any

import numpy as np

from jittor_ipl.errors import UserError

MAGIC = b"\x93NUMPY"
_MAX_HEADER = 10_000            # NumPy's own limit
_CODES = {"b1", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"}


def read_npy(path: str | os.PathLike) -> np.ndarray:
    """Return the array of a .npy file in native byte order.

    Raises UserError (without the path) for a damaged file, and for arrays of anything but plain numbers.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(8)
        width = {1: 2, 2: 4, 3: 4}.get(head[6]) if len(head) == 8 else None
        if head[:6] != MAGIC or width is None:
            raise UserError("this is no .npy file of a known version")
        length = int.from_bytes(file.read(width), "little")
        if length > min(_MAX_HEADER, size):
            raise UserError(f"the .npy header claims {length} bytes")
        dtype, shape, order = _parse(file.read(length))
        expected = math.prod(shape) * dtype.itemsize
        if size - file.tell() != expected:
            raise UserError(f"{size - file.tell()} bytes of numbers, {expected} expected for {dtype.name} {list(shape)}")
        array = np.frombuffer(file.read(), dtype) if expected else np.empty(0, dtype)
    if dtype == np.bool_ and array.size and array.view("u1").max() > 1:
        raise UserError("the .npy file holds truth values other than 0 and 1")
    return array.astype(dtype.newbyteorder("="), copy=False).reshape(shape, order=order)


def _parse(header: bytes) -> tuple[np.dtype, tuple[int, ...], str]:
    """Return (type, shape, "C" or "F") of a header, a Python dictionary of three literals."""
    try:
        fields: Any = ast.literal_eval(header.decode("latin-1").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise UserError("the .npy header is damaged") from error
    if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
        raise UserError("the .npy header is damaged")
    code, shape, fortran = fields["descr"], fields["shape"], fields["fortran_order"]
    if isinstance(code, str) and "O" in code:
        raise UserError("the .npy file holds Python objects, which is a pickle in disguise; save plain arrays")
    if not isinstance(code, str) or code.lstrip("<>|=") not in _CODES or len(code) > 3:
        raise UserError(f"the .npy file holds {str(code)[:40]!r}, plain numbers are expected")
    if not isinstance(shape, tuple) or len(shape) > 32 or not all(type(n) is int and 0 <= n < 2**48 for n in shape) \
            or math.prod(max(n, 1) for n in shape) >= 2**60 or not isinstance(fortran, bool):
        raise UserError("the .npy header has an impossible shape")
    return np.dtype(code), shape, "F" if fortran else "C"

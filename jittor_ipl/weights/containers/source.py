"""The bytes of a file, an open file or a buffer, read at exact places; nothing beyond what is asked for is held."""
from __future__ import annotations

import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.bfloat16 import BFLOAT16, widen_bfloat16
from jittor_ipl.weights.containers.limits import refuse

_CHUNK = 4 << 20
Origin = "str | os.PathLike | bytes | bytearray | memoryview | BinaryIO"


class ByteSource:
    """Positioned reading of `origin`: a path, bytes-like data, or a binary file object that can seek.

    A path is opened at once and closed with the object's end. A pipe, device or folder is refused unopened.
    Raises UserError when there is nothing to open.
    """

    def __init__(self, origin: Origin) -> None:
        self._buffer: memoryview | None = None
        self._file: Any = None
        self.path: str | None = None
        if isinstance(origin, (bytes, bytearray, memoryview)):
            self._buffer, self.name = memoryview(origin).cast("B").toreadonly(), "the data"
            self.size = len(self._buffer)
        elif isinstance(origin, (str, os.PathLike)):
            self._file, self.path = _open(origin), os.fspath(origin)
            self.name = self.path
            self.size = os.fstat(self._file.fileno()).st_size
        else:
            self._file, self.name = origin, str(getattr(origin, "name", "the data"))
            self.size = origin.seek(0, io.SEEK_END)

    @contextmanager
    def naming_errors(self) -> Iterator[None]:
        """Put the source's name before what a UserError inside says, and make one of an OSError."""
        try:
            yield
        except UserError as error:      # UnsafeWeightsError stays what it is
            error.args = (f"{self.name}: {error}", *error.args[1:])
            raise
        except OSError as error:
            raise UserError(f"cannot read {self.name}: {error.strerror or error}") from error

    def read(self, start: int, count: int) -> memoryview:
        """Return exactly these bytes; raises UnsafeWeightsError where the file ends before them."""
        if start < 0 or count < 0 or start + count > self.size:
            refuse(f"the file ends at byte {self.size}, bytes up to {start + count} are needed")
        if self._buffer is not None:
            return self._buffer[start:start + count]
        self._file.seek(start)
        data = self._file.read(count)
        if len(data) != count:
            refuse("the file became shorter while it was read")
        return memoryview(data)

    def numbers(self, start: int, count: int, code: str, crc: int | None = None,
                big_endian: bool = False) -> np.ndarray:
        """Return the numbers of type `code` in these bytes, a flat native array; bfloat16 is widened to float32.

        Read a few megabytes at a time, so nothing is held twice; UnsafeWeightsError for another CRC-32 than `crc`.
        """
        stored = np.dtype({BFLOAT16: "u2", "?": "u1"}.get(code, code)).newbyteorder(">" if big_endian else "<")
        width, checksum = stored.itemsize, 0
        flat = np.empty(count // width, np.dtype("f4" if code == BFLOAT16 else code).newbyteorder("="))
        for at in range(0, count, _CHUNK):
            raw = self.read(start + at, min(_CHUNK, count - at))
            checksum = zlib.crc32(raw, checksum) if crc is not None else 0
            part = np.frombuffer(raw[:len(raw) - len(raw) % width], stored)
            part = widen_bfloat16(part) if code == BFLOAT16 else part != 0 if code == "?" else part
            flat[at // width:at // width + len(part)] = part
        if crc is not None and checksum != crc:
            refuse("its bytes are damaged (the checksum does not match)")
        return flat


def _open(path: str | os.PathLike) -> BinaryIO:
    name = os.fspath(path)
    if "\0" in name:
        raise UserError(f"{name!r} is no file name")
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            return open(path, "rb", buffering=0)
    except OSError as error:
        raise UserError(f"cannot read {name!r}: {error.strerror or error}") from error
    raise UserError(f"{name!r} is not a file; a weight file is expected (.safetensors, .pt, .pth or .pkl)")

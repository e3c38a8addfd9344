"""Zip archives of stored (uncompressed) records, as PyTorch writes them; anything cleverer is refused."""
from __future__ import annotations

import os
import struct
import zipfile
import zlib

from jittor_ipl.errors import UserError

MAX_RECORDS = 100_000
_END_LENGTH = 22                # the directory's end record without a comment
_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
# zipfile raises all of these for damaged archives.
_DAMAGE = (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, ValueError, KeyError, IndexError,
           EOFError, OverflowError, struct.error)


class StoredZip:
    """The records of a checked archive by name without the archive's own folder; a context manager.

    Refuses (UserError, without the path) encrypted, overlapping or twice-named records, data before the first record
    or after the directory, records that reach beyond the file, and compressed ones, except the source code below
    `code/` in TorchScript archives, which is never read.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self._file = open(path, "rb")
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            self._records = self._directory()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "StoredZip":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __contains__(self, name: str) -> bool:
        return name in self._records

    def names(self) -> list[str]:
        """Return the record names in the order of the directory."""
        return list(self._records)

    def length(self, name: str) -> int:
        """Return the size of a record in bytes; raises UserError when there is none of that name."""
        return self._record(name).file_size

    def read(self, name: str) -> bytes:
        """Return the bytes of a record; raises UserError when it is missing or its checksum does not match."""
        info = self._record(name)
        self._file.seek(info.header_offset)
        header = self._file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size:
            self._refuse("it is cut short")
        magic, _, flags, method, *_, name_length, extra_length = _LOCAL_HEADER.unpack(header)
        if magic != b"PK\x03\x04" or method or flags & 1 or self._file.read(name_length) != _raw_name(info):
            self._refuse(f"the record {name[:80]!a} contradicts the directory")
        self._file.seek(extra_length, os.SEEK_CUR)
        data = self._file.read(info.file_size)
        if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
            self._refuse(f"the record {name[:80]!a} is damaged (its checksum does not match)")
        return data

    def _record(self, name: str) -> zipfile.ZipInfo:
        if name not in self._records:
            self._refuse(f"the record {name[:80]!a} is missing")
        info = self._records[name]
        if not _is_plain(info):
            self._refuse(f"the record {name[:80]!a} is compressed; weights are stored plainly")
        return info

    def _directory(self) -> dict[str, zipfile.ZipInfo]:
        self._file.seek(max(0, self.size - _END_LENGTH))
        end = self._file.read(_END_LENGTH)
        if not end.startswith(b"PK\x05\x06") or end[-2:] != b"\0\0":
            self._refuse("it is cut short, or something follows its directory")
        try:
            with zipfile.ZipFile(self._file) as archive:
                infos = archive.infolist()
        except _DAMAGE as error:
            raise UserError(f"damaged zip archive ({ascii(str(error))[1:81]})") from error
        if not 0 < len(infos) <= MAX_RECORDS:
            self._refuse(f"it has {len(infos)} records")
        self._check_layout(infos)
        return self._strip_folder(infos)

    def _check_layout(self, infos: list[zipfile.ZipInfo]) -> None:
        end = 0
        for info in sorted(infos, key=lambda i: i.header_offset):
            if info.flag_bits & 1 or not (_is_plain(info) or "/code/" in info.filename):
                self._refuse(f"the record {info.filename[:80]!a} is compressed or encrypted; weights are stored plainly")
            if info.header_offset < end or (end == 0 and info.header_offset != 0):
                self._refuse(f"the record {info.filename[:80]!a} overlaps another or hides data before the archive")
            end = info.header_offset + _LOCAL_HEADER.size + len(_raw_name(info)) + info.compress_size
        if end > self.size:
            self._refuse("its records are longer than the file")

    def _strip_folder(self, infos: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
        folder = infos[0].filename.partition("/")[0] + "/"
        records = {}
        for info in infos:
            name = info.filename.removeprefix(folder)
            if not info.filename.startswith(folder) or not name or name in records:
                self._refuse(f"unexpected or repeated record {info.filename[:80]!a}")
            records[name] = info
        return records

    def _refuse(self, problem: str) -> None:
        raise UserError(f"not a plain PyTorch archive: {problem}")


def _is_plain(info: zipfile.ZipInfo) -> bool:
    return info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size


def _raw_name(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")

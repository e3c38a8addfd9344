"""Zip archives of records as PyTorch and NumPy write them; anything cleverer is refused.

Python's `zipfile` is not used: it trusts the directory, keeps half a kilobyte per record and tolerates what two
readers may understand in two ways.
"""
from __future__ import annotations

import struct
import zlib
from typing import NamedTuple, NoReturn

from jittor_ipl.weights.containers.limits import Meter, UnsafeWeightsError
from jittor_ipl.weights.containers.source import ByteSource

MAX_RECORDS = 100_000
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 1, 0x800
_ENTRY_COST = 500               # bytes of memory per record
_END = struct.Struct("<4s4H2IH")
_END64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR64 = struct.Struct("<4sIQI")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")


class ZipRecord(NamedTuple):
    """One record as the directory tells it; its bytes end at or before `limit`."""

    raw_name: bytes
    method: int
    crc: int
    packed: int
    size: int
    header: int
    limit: int = 0


class ZipDirectory:
    """The records of a checked archive by their full names, in the directory's order.

    Raises UnsafeWeightsError for encrypted, overlapping or twice-named records, data before the first record or after
    the directory, records that reach beyond the file, and more of them than `meter` can pay for.
    """

    def __init__(self, source: ByteSource, meter: Meter) -> None:
        self.source = source
        self.records: dict[str, ZipRecord] = {}
        start, size, count = self._find_directory()
        if not 0 < count <= MAX_RECORDS or size < count * _CENTRAL.size:
            _refuse(f"its directory claims {count} records in {size} bytes")
        meter.spend(count * _ENTRY_COST + size)
        self._parse(source.read(start, size), count)
        self._check_layout(start)

    def _find_directory(self) -> tuple[int, int, int]:
        """Return (start, bytes, records) of the directory, which must end where its end record begins."""
        end_at = self.source.size - _END.size
        if end_at < 0:
            _refuse("it is cut short")
        magic, disk, first, here, count, size, start, comment = _END.unpack(self.source.read(end_at, _END.size))
        if magic != b"PK\x05\x06" or comment or disk or first or here != count:
            _refuse("it is cut short, or something follows its directory")
        locator_at = end_at - _LOCATOR64.size
        if locator_at >= 0 and (found := self.source.read(locator_at, _LOCATOR64.size))[:4] == b"PK\x06\x07":
            end_at, wide = self._find_wide(_LOCATOR64.unpack(found), locator_at)
            for short, long, unknown in zip((count, size, start), wide, (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)):
                if short not in (long, unknown):
                    _refuse("its two end records contradict each other")
            count, size, start = wide
        if start + size != end_at:
            _refuse("its directory does not lie where it should")
        return start, size, count

    def _find_wide(self, locator: tuple, locator_at: int) -> tuple[int, tuple[int, int, int]]:
        _, disk, at, disks = locator
        if disk or disks > 1 or at + _END64.size != locator_at:
            _refuse("its 64-bit end record is not where it should be")
        magic, length, _, _, disk, first, here, count, size, start = _END64.unpack(self.source.read(at, _END64.size))
        if magic != b"PK\x06\x06" or length != _END64.size - 12 or disk or first or here != count:
            _refuse("its 64-bit end record is damaged")
        return at, (count, size, start)

    def _parse(self, data: memoryview, count: int) -> None:
        at = 0
        for _ in range(count):
            if at + _CENTRAL.size > len(data):
                _refuse("its directory is cut short")
            (magic, _, _, flags, method, _, _, crc, packed, size, n, extra, comment, disk, _, _,
             header) = _CENTRAL.unpack_from(data, at)
            at += _CENTRAL.size
            raw, more = bytes(data[at:at + n]), data[at + n:at + n + extra]
            at += n + extra + comment
            if magic != b"PK\x01\x02" or at > len(data) or disk not in (0, 0xFFFF):
                _refuse("its directory is damaged")
            if flags & _ENCRYPTED:
                _refuse(f"the record {ascii(raw[:80])[1:]} is encrypted")
            packed, size, header = _widened(more, packed, size, header)
            name = _name(raw, flags)
            if name in self.records:
                _refuse(f"the record {name[:80]!a} is there twice")
            self.records[name] = ZipRecord(raw, method, crc, packed, size, header)
        if at != len(data):
            _refuse("its directory has more records than it counts")

    def _check_layout(self, end: int) -> None:
        """Give every record its limit, the next one's header; refuse overlaps and data before the first."""
        for name, record in sorted(self.records.items(), key=lambda item: -item[1].header):
            if record.header + _LOCAL.size + len(record.raw_name) + record.packed > end:
                _refuse(f"the record {name[:80]!a} overlaps another or reaches beyond the file")
            self.records[name] = record._replace(limit=end)
            end = record.header
        if end != 0:
            _refuse("data lie before its first record")

    def locate(self, name: str) -> tuple[int, int, int]:
        """Return (first byte, byte count, CRC-32) of a stored record; raises UnsafeWeightsError without one."""
        record = self.record(name)
        if record.method != _STORED or record.packed != record.size:
            _refuse(f"the record {name[:80]!a} is compressed; weights are stored plainly")
        return self._data_start(name, record), record.size, record.crc

    def record(self, name: str) -> ZipRecord:
        """Return what the directory says of a record; raises UnsafeWeightsError when there is none of that name."""
        return self.records[name] if name in self.records else _refuse(f"the record {name[:80]!a} is missing")

    def _data_start(self, name: str, record: ZipRecord) -> int:
        magic, _, flags, method, *_, n, extra = _LOCAL.unpack(self.source.read(record.header, _LOCAL.size))
        start = record.header + _LOCAL.size + n + extra
        name_there = bytes(self.source.read(record.header + _LOCAL.size, n))
        if (magic, method, name_there) != (b"PK\x03\x04", record.method, record.raw_name) or flags & _ENCRYPTED \
                or start + record.packed > record.limit:
            _refuse(f"the record {name[:80]!a} contradicts the directory")
        return start

    def head(self, name: str, count: int) -> memoryview:
        """Return the first bytes of a stored or deflated record, at most `count`, without checking the rest."""
        record = self.record(name)
        start = self._data_start(name, record)
        data = self.source.read(start, min(record.packed, count))
        if record.method != _DEFLATED:
            return data
        try:
            return memoryview(zlib.decompressobj(-15).decompress(data, count))
        except zlib.error as error:
            raise UnsafeWeightsError(f"the record {name[:80]!a} is damaged") from error

    def read(self, name: str) -> memoryview:
        """Return a stored or deflated record; raises UnsafeWeightsError when it is damaged."""
        record = self.record(name)
        data = self.source.read(self._data_start(name, record), record.packed)
        if record.method == _DEFLATED:
            data = _inflated(data, record.size, name)
        elif record.method != _STORED or record.packed != record.size:
            _refuse(f"the record {name[:80]!a} is compressed in an unknown way")
        if len(data) != record.size or zlib.crc32(data) != record.crc:
            _refuse(f"the record {name[:80]!a} is damaged (its checksum does not match)")
        return data


class StoredZip(ZipDirectory):
    """PyTorch's archives: records inside one folder, all stored, whose names are used without that folder.

    TorchScript's source code below `code/` may be compressed; it is never read.
    """

    def __init__(self, source: ByteSource, meter: Meter) -> None:
        super().__init__(source, meter)
        folder = next(iter(self.records)).partition("/")[0] + "/"
        for name, record in self.records.items():
            if not name.startswith(folder) or name == folder:
                _refuse(f"unexpected record {name[:80]!a}")
            if record.method != _STORED and "/code/" not in name:
                _refuse(f"the record {name[:80]!a} is compressed; weights are stored plainly")
        self.records = {name[len(folder):]: record for name, record in self.records.items()}


def _widened(extra: memoryview, packed: int, size: int, header: int) -> tuple[int, int, int]:
    """Return sizes and place with those that do not fit 32 bits taken from the 64-bit extra field."""
    at, values = 0, [size, packed, header]
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            field = bytes(extra[at + 4:at + 4 + length])
            for index, value in enumerate(values):
                if value == 0xFFFFFFFF:
                    if len(field) < 8:
                        _refuse("a 64-bit size is missing")
                    values[index], field = int.from_bytes(field[:8], "little"), field[8:]
        at += 4 + length
    return values[1], values[0], values[2]


def _inflated(data: memoryview, size: int, name: str) -> memoryview:
    """Return the unpacked bytes, never more than announced."""
    unpacker = zlib.decompressobj(-15)
    try:
        result = unpacker.decompress(data, size) if size else b""
        if not unpacker.eof:            # at most the end mark is left
            result += unpacker.decompress(unpacker.unconsumed_tail, 1)
    except zlib.error as error:
        raise UnsafeWeightsError(f"the record {name[:80]!a} is damaged ({ascii(str(error))[1:61]})") from error
    if len(result) != size or not unpacker.eof or unpacker.unused_data:
        _refuse(f"the record {name[:80]!a} does not unpack to the {size} bytes it announces")
    return memoryview(result)


def _name(raw: bytes, flags: int) -> str:
    try:
        return raw.decode("utf-8" if flags & _UTF8 or raw.isascii() else "cp437")
    except UnicodeError:
        return _refuse("a record whose name is not text")


def _refuse(problem: str) -> NoReturn:
    raise UnsafeWeightsError(f"not a plain archive of weights: {problem}")

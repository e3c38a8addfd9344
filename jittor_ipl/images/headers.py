"""What a picture file says about itself before anything is decoded: format, size, and whether the file is all there.

Only lengths and sizes are read, from bytes in memory. A file that asks for more work than a picture needs is refused.
"""
from __future__ import annotations

import zlib
from dataclasses import dataclass

from jittor_ipl.errors import UserError

MAX_METADATA = 1 << 20      # bytes of EXIF; a JPEG's has at most 64 KiB
MAX_CHUNKS = 100_000        # of a PNG; its usual pieces are 8 KiB or more
MAX_SCAN_PIXELS = 2_000_000_000     # scans times pixels of a JPEG; usual progressive files have about ten scans
MAX_SCANS = 1000

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"eXIf", b"IEND")
# Left, top, steps across and down of an interlaced PNG's passes.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
# What else is met under the ending of a picture, for the message.
_FOREIGN = ((b"GIF8", "a GIF"), (b"II*\0", "a TIFF"), (b"MM\0*", "a TIFF"), (b"%!PS", "an EPS"), (b"BM", "a BMP"),
            (b"SIMPLE  =", "a FITS file"), (b"8BPS", "a Photoshop file"), (b"<svg", "an SVG"), (b"%PDF", "a PDF"),
            (b"<?xml", "an XML file (SVG?)"), (b"\0\0\0\x0cjP  ", "a JPEG 2000"), (b"\0\0\1\0", "an icon"),
            (b"\x1f\x8b", "a gzip archive"), (b"PK\3\4", "a zip archive"))


@dataclass(frozen=True)
class Header:
    """Pillow's name of the format, the size in pixels of the stored picture (before any turning), a PNG's chunks."""

    format: str
    width: int
    height: int
    chunks: tuple[tuple[int, int], ...] = ()


def read_header(data: bytes) -> Header:
    """Return the header of a PNG, JPEG or WebP file; UserError for any other file, and for one that is cut short."""
    if data.startswith(_PNG):
        return _png(data)
    if data.startswith(b"\xff\xd8\xff"):
        return _jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    raise UserError(f"{_foreign(data)}, not a PNG, JPEG or WebP picture")


def _foreign(data: bytes) -> str:
    if not data:
        return "an empty file"
    if data[4:8] == b"ftyp":
        return "an AVIF, HEIC or video file"
    return next((what for start, what in _FOREIGN if data.startswith(start)), "an unknown file")


def _png(data: bytes) -> Header:
    """Walk the chunks: the first is IHDR, each lies within the file, the last is IEND, and the rows are all there."""
    if data[12:16] != b"IHDR" or data[8:12] != b"\0\0\0\x0d" or len(data) < 33:
        raise UserError("a damaged PNG: it does not begin with its header")
    chunks = _png_chunks(data)
    return Header("PNG", *_sides(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")), tuple(chunks))


def _png_chunks(data: bytes) -> list[tuple[int, int]]:
    """Return (start, end) of the chunks that make the picture; UserError when one is damaged or beyond the file."""
    at, chunks = len(_PNG), []
    for _ in range(MAX_CHUNKS):
        length, kind = int.from_bytes(data[at:at + 4], "big"), data[at + 4:at + 8]
        end = at + 12 + length
        if end > len(data):
            raise UserError("a damaged PNG: the file is cut short")
        if kind in _PNG_CHUNKS:
            if kind == b"eXIf" and length > MAX_METADATA:
                raise UserError(f"a PNG with {length >> 20} MiB of EXIF data; at most {MAX_METADATA >> 20} are read")
            if zlib.crc32(memoryview(data)[at + 4:end - 4]) != int.from_bytes(data[end - 4:end], "big"):
                raise UserError(f"a damaged PNG: the checksum of its {kind.decode()} chunk does not match")
            chunks.append((at, end))
        if kind == b"IEND":
            return chunks
        at = end
    raise UserError(f"a PNG of more than {MAX_CHUNKS} pieces")


def essential_png(data: bytes, header: Header) -> bytes:
    """Return the PNG without text, profiles and animation, which are neither shown here nor needed to show the picture.

    Raises UserError when its compressed rows end before the picture does; a decoder would leave the rest black.
    """
    view = memoryview(data)
    missing = _png_row_bytes(data, header)
    unpacker = zlib.decompressobj()
    for start, end in header.chunks:
        rest = view[start + 8:end - 4] if data[start + 4:start + 8] == b"IDAT" else b""
        while len(rest) and missing > 0 and not unpacker.eof:
            try:
                missing -= len(unpacker.decompress(rest, 1 << 20))
            except zlib.error as error:
                raise UserError(f"a damaged PNG: {error}") from error
            rest = unpacker.unconsumed_tail
    if missing > 0:
        raise UserError("a damaged PNG: its last rows are missing")
    return b"".join([_PNG, *(view[start:end] for start, end in header.chunks)])


def _png_row_bytes(data: bytes, header: Header) -> int:
    """Return how many bytes the rows of a PNG have, filters included (PNG specification, sections 7 and 8)."""
    depth, colour, interlaced = data[24], data[25], data[28]
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 0)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, across, down in passes:
        columns, rows = -(-(header.width - left) // across), -(-(header.height - top) // down)
        total += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    return total


def _jpeg(data: bytes) -> Header:
    """Walk the segments up to the frame header; what follows is counted, not read."""
    at = 2
    while data[at:at + 1] == b"\xff":
        marker = data[at + 1] if at + 1 < len(data) else 0xD9
        if marker == 0xFF:                                  # padding
            at += 1
            continue
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:        # no content
            at += 2
            continue
        length = int.from_bytes(data[at + 2:at + 4], "big")
        if marker in (0xD9, 0xDA) or length < 2 or at + 2 + length > len(data):
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = int.from_bytes(data[at + 5:at + 7], "big"), int.from_bytes(data[at + 7:at + 9], "big")
            sides = _sides(width, height)
            scans = data.count(b"\xff\xda", at)             # inside compressed data FF is always followed by 00
            if scans > MAX_SCANS or scans * width * height > MAX_SCAN_PIXELS:
                raise UserError(f"a JPEG of {scans} scans; nothing needs so many")
            return Header("JPEG", *sides)
        at += 2 + length
    raise UserError("a damaged JPEG: it has no picture, or is cut short")


def _webp(data: bytes) -> Header:
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise UserError("a damaged WebP: the file is cut short")
    kind, body = data[12:16], data[20:30]
    if len(body) == 10 and kind == b"VP8X":
        sides = int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    elif len(body) == 10 and kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        sides = int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    elif len(body) >= 5 and kind == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        sides = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        raise UserError("a damaged WebP: it does not begin with a picture")
    return Header("WEBP", *_sides(*sides))


def _sides(width: int, height: int) -> tuple[int, int]:
    if width == 0 or height == 0:
        raise UserError(f"a picture of {width} x {height} pixels has no content")
    return width, height

"""What a picture file says about itself before anything is decoded: format, size, and whether the file is all there.

Only lengths and sizes are read, from bytes in memory. A file that asks for more work than a picture needs is refused.
"""
from __future__ import annotations

import struct
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
    """Pillow's name of the format, the size in pixels of the stored picture (before any turning), a PNG's chunks.

    `animated`: further pictures follow the first.
    """

    format: str
    width: int
    height: int
    chunks: tuple[tuple[int, int], ...] = ()
    animated: bool = False


def read_header(data: bytes) -> Header:
    """Return the header of a PNG, JPEG or WebP file; UserError for any other file, and for one that is cut short."""
    if data.startswith(_PNG):
        header = _png(data)
    elif data.startswith(b"\xff\xd8\xff"):
        header = _jpeg(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        header = _webp(data)
    else:
        kind = next((what for start, what in _FOREIGN if data.startswith(start)), "an unknown file")
        kind = "an AVIF, HEIC or video file" if data[4:8] == b"ftyp" else kind if data else "an empty file"
        raise UserError(f"{kind}, not a PNG, JPEG or WebP picture")
    if header.width == 0 or header.height == 0:
        raise UserError(f"a picture of {header.width} x {header.height} pixels has no content")
    return header


def _png(data: bytes) -> Header:
    """Walk the chunks, each whole, from IHDR to IEND, and note (start, end) of those that make the picture."""
    if data[12:16] != b"IHDR" or data[8:12] != b"\0\0\0\x0d" or len(data) < 33:
        raise UserError("a damaged PNG: it does not begin with its header")
    at, chunks, frames = len(_PNG), [], 1
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
        if kind == b"acTL" and length == 8:
            frames = int.from_bytes(data[at + 8:at + 12], "big")
        if kind == b"IEND":
            return Header("PNG", *struct.unpack(">II", data[16:24]), tuple(chunks), frames > 1)
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
    total = 0
    for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(header.width - left) // across), -(-(header.height - top) // down)
        total += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    return total


def _jpeg(data: bytes) -> Header:
    """Walk the segments up to the frame header; what follows is counted, not read."""
    at = 2
    while data[at:at + 1] == b"\xff":
        marker = data[at + 1] if at + 1 < len(data) else 0xD9
        length = int.from_bytes(data[at + 2:at + 4], "big")
        if marker == 0xFF:                                  # padding
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:      # no content
            at += 2
        elif marker in (0xD9, 0xDA) or length < 2 or at + 2 + length > len(data):
            break
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = int.from_bytes(data[at + 5:at + 7], "big"), int.from_bytes(data[at + 7:at + 9], "big")
            scans = data.count(b"\xff\xda", at)             # inside compressed data FF is always followed by 00
            if scans > MAX_SCANS or scans * width * height > MAX_SCAN_PIXELS:
                raise UserError(f"a JPEG of {scans} scans; nothing needs so many")
            return Header("JPEG", width, height)
        else:
            at += 2 + length
    raise UserError("a damaged JPEG: it has no picture, or is cut short")


def _webp(data: bytes) -> Header:
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise UserError("a damaged WebP: the file is cut short")
    kind, body = data[12:16], data[20:30]
    if len(body) == 10 and kind == b"VP8X":
        width, height = int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    elif len(body) == 10 and kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        width, height = (side & 0x3FFF for side in struct.unpack("<HH", body[6:10]))
    elif len(body) >= 5 and kind == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        raise UserError("a damaged WebP: it does not begin with a picture")
    return Header("WEBP", width, height, animated=kind == b"VP8X" and bool(data[20] & 0x02))

"""Pictures that are bombs, in disguise, cut short or no files at all: one clear line each, in bounded time and memory.

All files are read in one child process, which is measured: CPU seconds of each, and the peak memory over all.
"""
from __future__ import annotations

import ast
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jittor_ipl.errors import UserError
from jittor_ipl.images.files import MAX_BYTES, load_image
from jittor_ipl.images.headers import MAX_CHUNKS, MAX_METADATA

ROOT = Path(__file__).resolve().parents[1]
MAX_SECONDS, MAX_MEMORY_MB = 1.0, 200
NOISE = Image.fromarray(np.random.RandomState(0).randint(0, 256, (96, 128, 3), dtype=np.uint8))
SIGNATURE = b"\x89PNG\r\n\x1a\n"

READER = """
import json, sys, time
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import load_image
for path in json.load(sys.stdin):
    before = time.process_time()
    try:
        outcome = "read %d x %d" % load_image(path).shape[1::-1]
    except UserError as error:
        outcome = "refused: " + str(error)
    except BaseException as error:
        outcome = type(error).__name__ + ": " + str(error)
    seconds = time.process_time() - before
    # VmHWM is this program's own peak; getrusage would count the parent's memory at the fork.
    peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
    print(json.dumps([path, outcome, seconds, peak]), flush=True)
"""


def measured(paths: list[Path]) -> dict[str, tuple[str, float, float]]:
    """Return name -> (outcome, CPU seconds, peak MB so far) of reading each path in a child process."""
    child = subprocess.run([sys.executable, "-c", READER], input=json.dumps([str(path) for path in paths]), cwd=ROOT,
                           capture_output=True, text=True, timeout=300)
    assert child.returncode == 0, child.stderr
    return {Path(path).name: (outcome, seconds, peak)
            for path, outcome, seconds, peak in map(json.loads, child.stdout.splitlines())}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes, depth: int = 8, colour: int = 2, body: bytes | None = None) -> bytes:
    """A PNG of given size whose rows are all zero (or `body`), with further chunks before the pixels."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    if body is None:
        packer, row = zlib.compressobj(9), bytes(1 + (width * channels * depth + 7) // 8)
        body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def encoded(kind: str, picture: Image.Image = NOISE, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def webp_canvas(width: int, height: int) -> bytes:
    body = b"VP8X" + struct.pack("<I",
                                 10) + bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def jpeg_of_scans(scans: int) -> bytes:
    """A progressive JPEG whose last scan is repeated, with a size far above its content."""
    data = bytearray(encoded("JPEG", progressive=True))
    frame = data.index(b"\xff\xc2")
    data[frame + 5:frame + 9] = struct.pack(">HH", 7000, 7000)
    last = data.rindex(b"\xff\xda")
    return bytes(data[:last] + data[last:-2] * scans + data[-2:])


def bombs() -> dict[str, bytes]:
    packed = zlib.compress(bytes(50_000), 9)
    text = zlib.compress(b"a" * (200 << 20), 9)
    return {
        "zeros-50k.png": png(50_000, 50_000, body=packed),
        "zeros-40k-1bit.png": png(40_000, 40_000, depth=1, colour=0, body=packed),
        "widest.png": png(2**31 - 1, 2**31 - 1, body=b""), "canvas.webp": webp_canvas(2**24, 2**24),
        "jpeg-65k.jpg": jpeg_size(65_535, 65_535),
        "ztxt.png": png(8, 8, chunk(b"zTXt", b"k\0\0" + text)),
        "itxt.png": png(8, 8, chunk(b"iTXt", b"k\0\1\0\0\0" + text)),
        "iccp.png": png(8, 8, chunk(b"iCCP", b"k\0\0" + text)),
        "long-itxt.png": png(8, 8, chunk(b"iTXt", bytes(20 << 20))),
        "long-exif.png": png(8, 8, chunk(b"eXIf", bytes(MAX_METADATA + 1))),
        "many-ztxt.png": png(8, 8,
                             *[chunk(b"zTXt", b"k%d\0\0" % i + zlib.compress(bytes(1_000_000))) for i in range(200)]),
        "many-chunks.png": png(8, 8, *[chunk(b"IDAT", b"")] * (MAX_CHUNKS + 1)), "many-scans.jpg": jpeg_of_scans(900),
        "zero-width.png": png(0, 8, body=b""), "no-ihdr.png": SIGNATURE + chunk(b"IDAT", b"") + chunk(b"IEND", b""),
        "more-than-declared.png": png(8, 8, body=zlib.compress(bytes(100 << 20), 9)),
    }


def jpeg_size(width: int, height: int) -> bytes:
    data = bytearray(encoded("JPEG"))
    frame = data.index(b"\xff\xc0")
    data[frame + 5:frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def disguised() -> dict[str, bytes]:
    small = NOISE.resize((8, 8))
    return {**{f"{kind.lower()}.png": encoded(kind, small)
               for kind in ("GIF", "TIFF", "EPS", "BMP", "ICO", "JPEG2000", "PPM", "TGA", "AVIF")},
            "psd.png": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 8, 8, 8, 3) + bytes(300),
            "fits.png": b"SIMPLE  =                    T" + b" " * 2850,
            "svg.png": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "svg-xml.png": b"<?xml version='1.0'?><!DOCTYPE svg><svg/>", "html.jpg": b"<html>",
            "zip.webp": b"PK\3\4" + bytes(30),
            "zero-byte.png": b"", "one-byte.png": b"\x89", "signature.png": SIGNATURE, "riff.webp": b"RIFF\4\0\0\0WEBP",
            "soi.jpg": b"\xff\xd8", "soi-eoi.jpg": b"\xff\xd8\xff\xd9"}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory) -> dict[str, tuple[str, float, float]]:
    folder = tmp_path_factory.mktemp("hostile")
    files = {**bombs(), **disguised()}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "loop-a.png").symlink_to(folder / "loop-b.png")
    (folder / "loop-b.png").symlink_to(folder / "loop-a.png")
    (folder / "nowhere.png").symlink_to(folder / "not-there.png")
    (folder / "folder.png").mkdir()
    (folder / "to-zero.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.png")
    with open(folder / "sparse.png", "wb") as file:
        file.write(SIGNATURE)
        file.truncate(MAX_BYTES + 1)
    return measured([*sorted(folder.iterdir()), Path("/dev/zero"), Path("/dev/random"), folder / ("x" * 300)])


# Bombs beside a good picture, in chunks that are never opened: reading it is right, as long as it is cheap.
EITHER = {"more-than-declared.png", "ztxt.png", "itxt.png", "iccp.png", "many-ztxt.png", "long-itxt.png"}


def test_every_hostile_file_is_refused_in_one_line(outcomes):
    wrong = {name: outcome for name, (outcome, _, _) in outcomes.items()
             if "\n" in outcome or not outcome.startswith("refused: ")
             and not (name in EITHER and outcome == "read 8 x 8")}
    assert not wrong and len(outcomes) >= 45, wrong


def test_hostile_files_cost_little(outcomes):
    slowest = max(outcomes.items(), key=lambda item: item[1][1])
    peak = max(peak for _, _, peak in outcomes.values())
    print(f"{len(outcomes)} hostile files: slowest {slowest[0]} {slowest[1][1]:.2f} s, peak memory {peak:.0f} MB")
    assert slowest[1][1] < MAX_SECONDS and peak < MAX_MEMORY_MB, (slowest, peak)


@pytest.mark.parametrize("name, message", [
    ("zeros-50k.png", "50000 x 50000 pixels; at most"), ("gif.png", "a GIF, not a PNG, JPEG or WebP"),
    ("tiff.png", "a TIFF"), ("eps.png", "an EPS"),
    ("psd.png", "a Photoshop file"), ("fits.png", "a FITS file"), ("svg.png", "an SVG"),
    ("zero-byte.png", "an empty file"), ("avif.png", "AVIF"),
    ("loop-a.png", "cannot read the picture"), ("pipe.png", "pipe or device"), ("folder.png", "folder"),
    ("zero", "device"), ("to-zero.png", "device"),
    ("sparse.png", "64 MiB"), ("many-scans.jpg", "scans"), ("long-exif.png", "EXIF"),
    ("canvas.webp", "16777216 x 16777216 pixels")])
def test_the_message_says_what_it_is(outcomes, name, message):
    assert message in outcomes[name][0]


def test_odd_characters_in_a_name_are_no_traceback():
    for name, message in (("a\0b.png", "null byte"), ("a\nb\udcff.png", "cannot read the picture .*a.+nb.+udcff.png")):
        with pytest.raises(UserError, match=message) as caught:
            load_image(name)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind, options", [
    ("PNG", {}), ("JPEG", dict(quality=95)), ("JPEG", dict(quality=95, progressive=True)),
    ("WEBP", dict(lossless=True)), ("WEBP", dict(quality=95))],
    ids=["png", "jpeg", "progressive", "webp-lossless", "webp"])
def test_a_picture_cut_short_is_never_half_grey(tmp_path, kind, options):
    """Every 1 KiB, and every byte of the last 64: refused, or the whole picture."""
    data = encoded(kind, NOISE.resize((256, 192)), **options)
    path = tmp_path / "x"
    path.write_bytes(data)
    whole = load_image(path)
    lengths = sorted({*range(0, len(data), 1024), *range(len(data) - 64, len(data))})
    refused = 0
    for length in lengths:
        path.write_bytes(data[:length])
        try:
            assert (load_image(path) == whole).all(), f"another picture after {length} of {len(data)} bytes"
        except UserError as error:
            refused += "\n" not in str(error)
    print(f"{kind}: {refused} of {len(lengths)} truncations refused, the rest is the whole picture")
    assert refused >= len(lengths) - 4


def test_pixels_that_end_early_inside_sound_chunks_are_refused(tmp_path):
    noise = np.random.RandomState(0).bytes(64 * 192)
    rows = b"".join(b"\0" + noise[i * 192:(i + 1) * 192] for i in range(64))
    (tmp_path / "whole").write_bytes(png(64, 64, body=zlib.compress(rows)))
    assert (load_image(tmp_path / "whole").reshape(-1) == np.frombuffer(noise, np.uint8)).all()
    for name, data in (("stream", zlib.compress(rows)[:6000]), ("rows", zlib.compress(rows[:32 * 193]))):
        (tmp_path / name).write_bytes(png(64, 64, body=data))
        with pytest.raises(UserError, match="damaged"):
            load_image(tmp_path / name)


def test_only_one_module_opens_pictures():
    found = []
    for path in sorted((ROOT / "jittor_ipl").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            opens = isinstance(node, ast.Attribute) and node.attr in ("open", "frombuffer",
                                                                      "frombytes") and ast.unparse(
                                                                          node.value).split(".")[-1] == "Image"
            foreign = isinstance(node, (ast.Import, ast.ImportFrom)) and any(
                name.split(".")[0] in ("cv2", "imageio", "skimage", "torchvision") for name in
                ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]))
            if (opens or foreign) and path.relative_to(ROOT).as_posix() != "jittor_ipl/images/files.py":
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found, f"pictures are read by jittor_ipl.images.files alone: {found}"

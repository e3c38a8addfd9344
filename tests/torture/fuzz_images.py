"""Damaged and hostile pictures: each is read, or refused in one line; nothing else, no hang.

    python -m tests.torture.fuzz_images --count 100000
"""
from __future__ import annotations

import io
import os
import random
import sys
import time
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from jittor_ipl.errors import UserError
from jittor_ipl.images.files import load_image
from tests.torture.common import finish, fresh, parse

MAX_PIXELS, SLOW = 1_000_000, 1.0
TOKENS = (b"\xff\xd8", b"\xff\xd9", b"\xff\xda", b"\xff\xc0", b"\xff\xc2", b"\xff\xe1", b"Exif\0\0", b"IDAT", b"IEND",
          b"PLTE", b"tRNS", b"zTXt",
          b"iTXt", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ANMF", b"ALPH",
          b"\0\0\0\0", b"\xff\xff\xff\xff",
          b"\x7f\xff\xff\xff", b"Adobe\0", b"II*\0", b"MM\0*")


def seeds() -> list[bytes]:
    """Small valid pictures of every kind that is read."""
    rng = np.random.RandomState(0)
    rgb = Image.fromarray(rng.randint(0, 256, (24, 20, 3), dtype=np.uint8))
    grey16 = Image.fromarray(rng.randint(0, 65536, (24, 20)).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    text = PngImagePlugin.PngInfo()
    text.add_text("a", "b" * 200, zip=True)
    text.add_itxt("c", "d" * 200, zip=True)
    palette = rgb.quantize(16)
    alpha = rgb.convert("RGBA")
    alpha.putalpha(rgb.convert("L"))
    pictures = [
        (rgb, "PNG", dict(pnginfo=text, exif=exif, icc_profile=b"x" * 200)), (grey16, "PNG", {}), (alpha, "PNG", {}),
        (alpha.convert("LA"), "PNG", {}),
        (palette, "PNG", dict(transparency=bytes(range(0, 256, 16)))), (rgb.convert("1"), "PNG", {}),
        (rgb, "PNG", dict(save_all=True, append_images=[rgb.rotate(90), rgb.rotate(180)])),
        (rgb, "JPEG", dict(exif=exif, icc_profile=b"x" * 200)), (rgb, "JPEG", dict(progressive=True)),
        (rgb.convert("L"), "JPEG", {}),
        (rgb.convert("CMYK"), "JPEG", {}), (rgb, "WEBP", dict(lossless=True)), (rgb, "WEBP", dict(exif=exif)),
        (alpha, "WEBP", {}),
        (rgb, "WEBP", dict(save_all=True, append_images=[rgb.rotate(90), rgb.rotate(180)]))]
    found = []
    for picture, kind, options in pictures:
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        found.append(buffer.getvalue())
    return found


def mutated(data: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Return `data` with one to six random changes; half of the PNGs get right checksums again, to reach what lies
    deeper.
    """
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at, kind = rng.randrange(len(out) + 1), rng.randrange(9)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:
            out[at % len(out)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif kind == 2:
            del out[at:at + rng.choice((1, 4, 16, 100))]
        elif kind == 3:
            out[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 4, 16))))
        elif kind == 4:
            token = rng.choice(TOKENS)
            out[at:at + len(token) * rng.randrange(2)] = token
        elif kind == 5:
            del out[at:]
        elif kind == 6:
            piece = bytes(out[at:at + rng.choice((4, 12, 64))])
            out[at:at] = piece * rng.choice((1, 2, 50))
        elif kind == 7:
            other = rng.choice(others)
            start = rng.randrange(len(other))
            out[at:] = other[start:]
        else:
            out[at:at + 4] = rng.choice((0, 1, 2**16, 2**24, 2**31 - 1,
                                         2**32 - 1)).to_bytes(4, rng.choice(("big", "little")))
    return with_checksums(bytes(out)) if rng.randrange(2) else bytes(out)


def with_checksums(data: bytes) -> bytes:
    """Return a PNG with the right checksum behind every chunk, as far as its lengths lead."""
    out, at = bytearray(data), 8
    while data.startswith(b"\x89PNG") and at + 12 <= len(out):
        length = int.from_bytes(out[at:at + 4], "big")
        if at + 12 + length > len(out):
            break
        out[at + 8 + length:at + 12 + length] = zlib.crc32(out[at + 4:at + 8 + length]).to_bytes(4, "big")
        at += 12 + length
    return bytes(out)


def attempt(path: Path) -> tuple[str, float]:
    """Return what reading the picture came to, and the seconds it took."""
    start = time.perf_counter()
    try:
        pixels = load_image(path, MAX_PIXELS)
        outcome = "read" if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[
            2] == 3 else f"odd array {pixels.shape}"
    except UserError as error:
        outcome = "refused" if "\n" not in str(error) else "message of several lines"
    except Exception as error:        # the point of the fuzz: any other type is a finding
        outcome = f"{type(error).__name__}: {error}"[:200]
    return outcome, time.perf_counter() - start


def main(argv: list[str] | None = None) -> int:
    """Read mutated pictures and print the figures."""
    arguments = parse(__doc__.splitlines()[0], 100_000, 1_000, argv)
    work = fresh(arguments.work)
    rng, pictures = random.Random(getattr(arguments, "seed", 0)), seeds()
    path = work / "picture.bin"
    outcomes: Counter[str] = Counter()
    slowest, failed = 0.0, []
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for index in range(arguments.count):
        data = mutated(rng.choice(pictures), pictures, rng)
        path.write_bytes(data)
        outcome, seconds = attempt(path)
        outcomes[outcome if outcome in ("read", "refused") else "wrong"] += 1
        slowest = max(slowest, seconds)
        if outcome not in ("read", "refused") or seconds > SLOW:
            (work / f"found-{index}.bin").write_bytes(data)
            failed.append(f"{index}: {outcome} ({seconds:.1f} s)")
    left_open = len(os.listdir("/proc/self/fd")) - descriptors if descriptors else 0
    passed = not failed and left_open <= 0
    figures = {"inputs": arguments.count, "read": outcomes["read"], "refused": outcomes["refused"],
               "wrong": outcomes["wrong"],
               "slowest_s": round(slowest, 3), "files_left_open": left_open, "failed": failed[:5]}
    return finish("fuzz_images", arguments, figures, passed, "mutated pictures")


if __name__ == "__main__":
    sys.exit(main())

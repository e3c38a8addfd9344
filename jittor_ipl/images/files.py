"""Picture files in and out: 8-bit RGB, PNG written, PNG, JPEG and WebP read, hostile ones refused."""
from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageChops, PngImagePlugin

from jittor_ipl.disk.atomic import write_bytes
from jittor_ipl.disk.small_files import read_small
from jittor_ipl.errors import UserError
from jittor_ipl.images.headers import Header, essential_png, read_header
from jittor_ipl.images.pixels import to_uint8

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
MAX_PIXELS = 50_000_000  # below Pillow's own warning at 89 million; a 7000 x 7000 picture passes
MAX_BYTES = 64 << 20     # of a file; bounds what reading a damaged one can take
ORIENTATION = 0x0112     # EXIF's tag
_TURNS = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
          5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
          8: Image.Transpose.ROTATE_90}
# What Pillow raises for damaged files (fuzzed by tests/torture/fuzz_images.py).
DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, OverflowError, IndexError, KeyError, TypeError,
                  AttributeError, RuntimeError, struct.error, zlib.error)


def encode_png(pixels: np.ndarray, text: Mapping[str, str] | None = None) -> bytes:
    """Return a PNG of HWC uint8 RGB pixels, `text` in UTF-8 chunks: the same bytes again with the same Pillow build."""
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3, (pixels.dtype, pixels.shape)
    chunks = PngImagePlugin.PngInfo()
    for key, value in sorted((text or {}).items()):
        chunks.add_itxt(key, value)
    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGB").save(buffer, "PNG", pnginfo=chunks, compress_level=6, optimize=False)
    return buffer.getvalue()


def save_png(path: str | Path, image: np.ndarray, text: Mapping[str, str] | None = None) -> Path:
    """Write one image, float CHW in [-1, 1] or uint8 HWC, as PNG, whole or not at all; `UserError` where it cannot."""
    pixels = image if image.dtype == np.uint8 else to_uint8(image)
    return write_bytes(path, encode_png(pixels, text))


@dataclass(frozen=True)
class PictureFile:
    """A picture file as it was read: uint8 RGB pixels [H, W, 3], upright, and what had to be done to have them.

    transparent   transparent parts of it became white
    turned        its EXIF data said that it lies on its side, stands on its head or is mirrored
    animated      further pictures follow, of which nothing was read
    """

    pixels: np.ndarray
    transparent: bool = False
    turned: bool = False
    animated: bool = False

    def remarks(self) -> list[str]:
        """Return what its owner might not expect, in words."""
        told = {"turned upright as its EXIF data says": self.turned,
                "its transparent parts are white": self.transparent,
                "the first picture of an animation": self.animated}
        return [words for words, holds in told.items() if holds]


def load_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a PNG, JPEG or WebP file as HWC uint8 RGB, as `read_picture` does, which raises the same errors."""
    return read_picture(path, max_pixels).pixels


def read_picture(path: str | Path, max_pixels: int = MAX_PIXELS) -> PictureFile:
    """Read a PNG, JPEG or WebP file as HWC uint8 RGB, upright.

    Transparent parts become white; 16-bit, grey, CMYK and palette pictures are converted; of an animated WebP the first
    frame counts, of an animated PNG the picture that still viewers show; colour profiles are not applied, as in CLIP's
    own pipeline. What the file is follows from its content, not its name. Raises `UserError` for anything else, a file
    that is no regular file, a damaged one, more than `max_pixels` pixels or `MAX_BYTES` bytes.
    """
    name = str(path) if str(path).isprintable() else ascii(str(path))      # one line, whatever the name
    data = read_small(path, "picture", MAX_BYTES)
    try:
        header = read_header(data)
        if header.width * header.height > max_pixels:
            raise UserError(f"{header.width} x {header.height} pixels; at most {max_pixels} are read")
        return _decoded(essential_png(data, header) if header.format == "PNG" else data, header)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    except Image.DecompressionBombError:
        raise UserError(f"{name}: too many pixels; at most {max_pixels} are read") from None
    except MemoryError:
        raise UserError(f"{name}: too large for this machine's memory") from None
    except DECODER_ERRORS as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{name}: a damaged picture: {reason}") from error


def _decoded(data: bytes, header: Header) -> PictureFile:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")         # Pillow's remarks on metadata that is not used here
        with Image.open(io.BytesIO(data), formats=(header.format,)) as picture:
            picture.load()
            flattened, transparent = _flattened(picture)
            turn = None
            with suppress(*DECODER_ERRORS):     # damaged EXIF is as good as none
                turn = _TURNS.get(picture.getexif().get(ORIENTATION))
            pixels = np.array(flattened if turn is None else flattened.transpose(turn))
            return PictureFile(pixels, transparent, turn is not None, header.animated)


def _flattened(picture: Image.Image) -> tuple[Image.Image, bool]:
    """Return the picture as 8-bit RGB over white, and whether any of that white shows."""
    if picture.mode.startswith("I"):
        return _from_16_bit(picture)
    if picture.mode == "CMYK":
        # Pillow takes all ink values for inverted, as Adobe writes them; files without Adobe's mark are not.
        return (picture if "adobe" in picture.info else ImageChops.invert(picture)).convert("RGB"), False
    if not picture.has_transparency_data:
        return picture.convert("RGB"), False
    picture = picture.convert("RGBA")
    alpha = picture.getchannel("A")
    white = Image.new("RGB", picture.size, (255, 255, 255))
    white.paste(picture, mask=alpha)
    return white, alpha.getextrema()[0] < 255


def _from_16_bit(picture: Image.Image) -> tuple[Image.Image, bool]:
    """Return 16-bit grey scaled to 8 bits; Pillow's own conversion would clip at 255 instead."""
    grey = np.clip(np.asarray(picture), 0, 65535).astype(np.uint32)
    scaled = ((grey * 255 + 32767) // 65535).astype(np.uint8)
    key = picture.info.get("transparency")
    transparent = grey == key if isinstance(key, int) else np.zeros(grey.shape, bool)
    scaled[transparent] = 255
    return Image.fromarray(scaled).convert("RGB"), bool(transparent.any())


def list_images(folder: str | Path) -> list[Path]:
    """Return the picture files of a folder, sorted by name; hidden ones (a Mac's `._0.png`) are passed over.

    Raises `UserError` when the folder is missing, or holds no picture: then with what it holds instead.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{str(folder)!r} is not a folder of pictures")
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    found = [path for path in entries if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not found:
        raise UserError(f"no picture ({', '.join(SUFFIXES)}) in {str(folder)!r}: {_contents(entries)}")
    return found


def _contents(entries: Sequence[Path]) -> str:
    """Tell what a folder without pictures holds, and what to do about it."""
    folders = [ascii(path.name) for path in entries if path.is_dir()]
    if folders:
        shown = ", ".join([*folders[:4], *(["..."] if len(folders) > 4 else [])])
        return f"it holds the folders {shown}; name one that holds pictures"
    return f"it holds files such as {ascii(entries[0].name)}; convert them to PNG" if entries else "it is empty"

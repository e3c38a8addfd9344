"""Many pictures as one: plain grids, contact sheets with a label beside each row, and mosaics to read back."""
from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jittor_ipl.errors import UserError
from jittor_ipl.images.files import load_image, save_png

MOST_PIXELS = 1 << 24  # of one mosaic: 4096 pictures of 64 px, 16 of 1024 px; of further ones only the hash is recorded


def grid(pixels: Sequence[np.ndarray] | np.ndarray, columns: int, pad: int = 2, background: int = 255) -> np.ndarray:
    """Return one HWC uint8 picture of equal HWC uint8 tiles, row by row, `pad` pixels apart; missing ones are blank."""
    assert len(pixels) > 0 and columns > 0
    height, width, channels = pixels[0].shape
    rows = -(-len(pixels) // columns)
    sheet = np.full((rows * (height + pad) + pad, columns * (width + pad) + pad, channels), background, np.uint8)
    for index, tile in enumerate(pixels):
        assert tile.shape == (height, width, channels), (tile.shape, pixels[0].shape)
        top, left = (pad + (index // columns) * (height + pad), pad + (index % columns) * (width + pad))
        sheet[top:top + height, left:left + width] = tile
    return sheet


def contact_sheet(rows: Sequence[tuple[str, Sequence[np.ndarray]]], pad: int = 2, text_size: int = 13,
                  headings: Sequence[str] = ()) -> np.ndarray:
    """Return one HWC uint8 picture with a labelled row of HWC uint8 tiles per entry: `(label, tiles)`.

    All tiles have one size; shorter rows stay blank at the end. Labels stand left of their rows, `headings` over the
    columns, in black on white.
    """
    assert rows and all(len(tiles) for _, tiles in rows)
    columns = max(len(tiles) for _, tiles in rows)
    blank = np.full_like(rows[0][1][0], 255)
    tiles = [tile for _, row in rows for tile in (*row, *[blank] * (columns - len(row)))]
    pictures = grid(tiles, columns, pad)
    font = ImageFont.load_default(text_size)
    margin = 2 * pad + max(int(np.ceil(font.getlength(label))) for label, _ in rows)
    labels = Image.new("RGB", (margin, pictures.shape[0]), (255, 255, 255))
    draw = ImageDraw.Draw(labels)
    step = blank.shape[0] + pad
    for index, (label, _) in enumerate(rows):
        draw.text((pad, pad + index * step + blank.shape[0] // 2), label, fill=(0, 0, 0), font=font, anchor="lm")
    sheet = np.concatenate([np.asarray(labels), pictures], axis=1)
    if not headings:
        return sheet
    over = [_caption(heading, blank.shape[1], text_size, pad) for heading in headings]
    heading = grid([*over, *[np.full_like(over[0], 255)] * (columns - len(over))], columns, pad)
    return np.concatenate([np.pad(heading[:-pad], ((0, 0), (margin, 0), (0, 0)), constant_values=255), sheet])


def captioned(tiles: Sequence[tuple[str, np.ndarray]], columns: int, pad: int = 2, text_size: int = 9) -> np.ndarray:
    """Return one HWC uint8 picture of equal HWC uint8 tiles `(caption, tile)`, row by row, each over its caption.

    Captions are black on white, in `text_size` pixels or, where that is too wide for the tile, fewer.
    """
    over = [np.concatenate([tile, _caption(caption, tile.shape[1], text_size, pad)]) for caption, tile in tiles]
    return grid(over, columns, pad)


def _caption(caption: str, width: int, text_size: int, pad: int) -> np.ndarray:
    """Return words in the middle of a white HWC uint8 strip, in smaller letters where they are wider than it."""
    font = ImageFont.load_default(text_size)
    font = ImageFont.load_default(max(text_size * min(1.0, width / max(font.getlength(caption), 1)), 1))
    strip = Image.new("RGB", (width, text_size + 2 * pad), (255, 255, 255))
    ImageDraw.Draw(strip).text((width // 2, text_size // 2 + pad), caption, fill=(0, 0, 0), font=font, anchor="mm")
    return np.asarray(strip)


def encode_sheet(pixels: np.ndarray, suffix: str = ".png") -> bytes:
    """Return WebP where a file's `suffix` is ".webp" in any case, else a PNG of 256 colours, a third of the size.

    For sheets that are looked at, not measured.
    """
    buffer = io.BytesIO()
    if suffix.lower() == ".webp":
        Image.fromarray(pixels, "RGB").save(buffer, "WEBP", quality=75, method=6)
        return buffer.getvalue()
    palette = Image.fromarray(pixels, "RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    palette.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    """Return an HWC uint8 picture whose longer side has at most `side` pixels; a smaller one as it is."""
    height, width, _ = picture.shape
    scale = side / max(height, width)
    if scale >= 1:
        return picture
    size = round(width * scale), round(height * scale)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))


def capacity(height: int, width: int) -> int:
    """Return how many pictures of `height` x `width` pixels a mosaic takes (at least one)."""
    return max(1, MOST_PIXELS // (height * width))


def write_mosaic(path: Path, images: Sequence[np.ndarray]) -> None:
    """Write equal pictures, uint8 [H, W, 3] each, as one near-square PNG without gaps; whole or not at all."""
    save_png(path, grid(images, math.ceil(math.sqrt(len(images))), pad=0))


def read_mosaic(path: Path, count: int, size: tuple[int, int]) -> list[np.ndarray]:
    """Read back the first `count` pictures of (height, width) `size`; UserError when the file cannot hold them."""
    height, width = size
    sheet = load_image(path)
    rows, columns = sheet.shape[0] // height, sheet.shape[1] // width
    if sheet.shape[:2] != (rows * height, columns * width) or rows * columns < count:
        found = f"{sheet.shape[1]}x{sheet.shape[0]}"
        raise UserError(f"{path} is {found}: it does not hold {count} pictures of {width}x{height}")
    return list(sheet.reshape(rows, height, columns, width, 3).swapaxes(1, 2).reshape(-1, height, width, 3)[:count])

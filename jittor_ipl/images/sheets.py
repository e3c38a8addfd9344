"""Many pictures as one: plain grids, and contact sheets with a label beside each row."""
from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont


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


def contact_sheet(rows: Sequence[tuple[str, Sequence[np.ndarray]]], pad: int = 2, text_size: int = 13) -> np.ndarray:
    """Return one HWC uint8 picture with a labelled row of HWC uint8 tiles per entry: `(label, tiles)`.

    All tiles have one size; shorter rows stay blank at the end. Labels stand left of their rows, in black on white.
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
    return np.concatenate([np.asarray(labels), pictures], axis=1)


def encode_sheet(pixels: np.ndarray) -> bytes:
    """Return a PNG of 256 colours, a third of the size: for sheets that are looked at, not measured."""
    buffer = io.BytesIO()
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

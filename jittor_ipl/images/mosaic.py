"""Many small pictures as one lossless PNG: the reference pixels of a released style."""
from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.images.files import load_image, save_png
from jittor_ipl.images.sheets import grid

MOST_PIXELS = 1 << 24  # of one mosaic: 4096 pictures of 64 px, 16 of 1024 px; of further ones only the hash is recorded


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
    columns = sheet.shape[1] // width
    if sheet.shape[1] % width or sheet.shape[0] % height or columns * (sheet.shape[0] // height) < count:
        size = f"{sheet.shape[1]}x{sheet.shape[0]}"
        raise UserError(f"{path} is {size}: it does not hold {count} pictures of {width}x{height}")
    return [sheet[top:top + height, left:left + width]
            for top, left in ((index // columns * height, index % columns * width) for index in range(count))]

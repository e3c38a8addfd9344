"""The centre of a picture file as networks of features take it: resized by Pillow, cut out, normalised."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from jittor_ipl.errors import UserError


def normalised_centre(image: Image.Image, short: int, side: int, mean: np.ndarray, std: np.ndarray,
                      whole: Callable[[float], int] = round) -> np.ndarray:
    """Return float32 [3, side, side], the centre of a picture of any size and mode whose shorter side becomes `short`.

    Pillow's own bicubic filter, antialiased and rounded to 8 bits, as OpenAI's CLIP does it; then `mean` and `std` [3]
    of pixels in [0, 1]. `whole` rounds the corner: `round` in torchvision, `math.floor` in Hugging Face's processors.
    Raises UserError for a picture without pixels.
    """
    width, height = image.size
    least = min(width, height)
    if least == 0:
        raise UserError(f"an image of {width} x {height} pixels has no content")
    size = int(short * width / least), int(short * height / least)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (whole((n - side) / 2) for n in size)
    image = image.crop((left, top, left + side, top + side)).convert("RGB")
    pixels = np.asarray(image, np.float32) / np.float32(255)
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1))

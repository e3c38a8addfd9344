"""The one image convention: float32 NCHW in [-1, 1] inside, uint8 HWC outside; and the hash of pixels."""
from __future__ import annotations

import hashlib

import numpy as np


def to_uint8(images: np.ndarray) -> np.ndarray:
    """Return uint8 pixels `clip(floor(x * 127.5 + 128), 0, 255)` of images in [-1, 1] (NVIDIA's StyleGAN rule).

    NCHW or CHW float -> NHWC or HWC uint8. Raises `ValueError` when a value is not finite.
    """
    assert images.ndim in (3, 4), images.shape
    if not np.isfinite(images).all():
        raise ValueError("an image contains NaN or infinity")
    pixels = np.clip(np.floor(images.astype(np.float32) * np.float32(127.5) + np.float32(128)), 0, 255)
    return np.ascontiguousarray(np.moveaxis(pixels.astype(np.uint8), -3, -1))


def from_uint8(pixels: np.ndarray) -> np.ndarray:
    """Return float32 images in [-1, 1] of uint8 pixels (255 -> 1, 0 -> -1); HWC or NHWC -> CHW or NCHW."""
    assert pixels.dtype == np.uint8 and pixels.ndim in (3, 4), (pixels.dtype, pixels.shape)
    return np.ascontiguousarray(np.moveaxis(pixels, -1, -3).astype(np.float32) / np.float32(127.5) - np.float32(1))


def pixels_sha256(image: np.ndarray) -> str:
    """Return the SHA-256 of an image's size and pixels, uint8 [H, W, 3], however a PNG compresses them."""
    assert str(image.dtype) == "uint8" and image.ndim == 3 and image.shape[2] == 3, (image.dtype, image.shape)
    header = f"RGB8 {image.shape[1]}x{image.shape[0]}\n".encode()
    return hashlib.sha256(header + image.tobytes()).hexdigest()

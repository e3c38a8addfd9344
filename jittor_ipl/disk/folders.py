"""The hash of pixels, and an output folder that is known to be writable."""
from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from jittor_ipl.disk import atomic
from jittor_ipl.errors import UserError

if TYPE_CHECKING:
    import numpy as np


def output_folder(path: Path, *, need_bytes: int = 0) -> Path:
    """Make `path`, clear what killed processes left, and prove that files can be written there.

    Raises UserError when that is not possible or fewer than `need_bytes` are free.
    """
    atomic.make_folder(path)
    atomic.sweep(path)
    with atomic.told_as_user_error(path):
        with tempfile.TemporaryFile(dir=path):
            pass
        free = shutil.disk_usage(path).free
    if free < need_bytes:
        raise UserError(f"cannot write {path}: {need_bytes / 2**20:.0f} MiB are needed, {free / 2**20:.0f} MiB are free")
    return path


def pixels_sha256(image: np.ndarray) -> str:
    """Return the SHA-256 of an image's size and pixels, uint8 [H, W, 3]; it does not depend on how a PNG was compressed."""
    assert str(image.dtype) == "uint8" and image.ndim == 3 and image.shape[2] == 3, (image.dtype, image.shape)
    header = f"RGB8 {image.shape[1]}x{image.shape[0]}\n".encode()
    return hashlib.sha256(header + image.tobytes()).hexdigest()

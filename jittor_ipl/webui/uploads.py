"""Pictures that owners uploaded: decoded and checked once, then kept as plain PNGs for a while."""
from __future__ import annotations

import re
import secrets
import shutil
import threading
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jittor_ipl.disk.atomic import make_folder, write_bytes
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import encode_png, read_picture
from jittor_ipl.webui.page_error import PageError
from jittor_ipl.webui.pages.words import Words
from jittor_ipl.webui.settings import ServerSettings

_ID = re.compile(r"[0-9a-f]{16}")
SMALLEST = 32       # px of the shorter side


class Uploads:
    """One folder an owner in the private folder; what is older than `upload_age` goes, and what is too much."""

    def __init__(self, settings: ServerSettings):
        self._root, self._limits = settings.private / "uploads", settings.limits
        self._one_at_a_time = threading.Lock()      # a picture being decoded takes a hundred megabytes

    def add(self, data: bytes, owner: str) -> dict[str, Any]:
        """Keep a picture and return its id, size and what was done to it; UserError for what is none.

        PNG, JPEG or WebP, whatever its name says, turned upright, without anything but its pixels.
        """
        if len(data) > self._limits.body:
            raise PageError("error.large_file", most=self._limits.body >> 20)
        folder = make_folder(self._folder(owner))
        name = secrets.token_hex(8)
        raw = folder / f"{name}.raw"
        with self._one_at_a_time:
            try:
                raw.write_bytes(data)
                picture = read_picture(raw, self._limits.upload_pixels)
            except UserError as error:
                raise UserError(str(error).replace(f"{raw}: ", "the picture: ")) from None
            finally:
                raw.unlink(missing_ok=True)
            pixels, remarks = self._fitting(picture.pixels), picture.remarks()
            if pixels is not picture.pixels:
                remarks.append(Words("en")("remark.reduced", side=self._limits.upload_side))
            write_bytes(folder / f"{name}.png", encode_png(pixels))
        self._sweep_owner(folder)
        height, width, _ = pixels.shape
        return {"id": name, "width": width, "height": height, "remarks": remarks, "url": f"/api/v1/uploads/{name}"}

    def path(self, upload: str, owner: str) -> Path:
        """Return the file of an owner's upload; UserError for any other."""
        path = self._folder(owner) / f"{upload}.png"
        if not _ID.fullmatch(upload) or not path.is_file():
            raise PageError("error.no_upload", upload=upload[:40])
        return path

    def sweep(self) -> None:
        """Remove what is too old."""
        for folder in self._root.iterdir() if self._root.is_dir() else ():
            self._sweep_owner(folder)

    def _fitting(self, pixels: np.ndarray) -> np.ndarray:
        height, width, _ = pixels.shape
        if min(height, width) < SMALLEST:
            raise PageError("error.few_pixels", width=width, height=height, least=SMALLEST)
        scale = self._limits.upload_side / max(height, width)
        if scale >= 1:
            return pixels
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))

    def _folder(self, owner: str) -> Path:
        return self._root / sha256(owner.encode()).hexdigest()[:32]

    def _sweep_owner(self, folder: Path) -> None:
        now = time.time()
        newest = sorted(folder.glob("*"), key=lambda path: -_made(path))
        for number, path in enumerate(newest):
            if number >= self._limits.uploads or now - _made(path) > self._limits.upload_age:
                path.unlink(missing_ok=True)
        if not any(folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)


def _made(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0

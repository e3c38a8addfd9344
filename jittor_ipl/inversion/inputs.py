"""Pictures as they are inverted: upright, square, of the generator's size, under names that make good file names."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jittor_ipl.disk.names import image_names
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import list_images, read_picture
from jittor_ipl.inversion.align import Aligned

SMALLEST = 32       # px of a square picture's side: below it no face can be told
ALIGN = ("auto", "always", "never")     # pictures that are not square, all, none
Align = Callable[[Path], Aligned]


@dataclass(frozen=True)
class Input:
    """One picture as it is inverted.

    pixels      uint8 [size, size, 3]
    alignment   how it was cut out, as `Aligned.to_json` tells it; None for a picture that was square
    remarks     what its owner might not expect, in words
    """

    pixels: np.ndarray
    alignment: dict[str, Any] | None
    remarks: tuple[str, ...]


def picture_files(places: Sequence[str]) -> list[Path]:
    """Return the picture files that `places` name, files or folders, in order.

    Raises UserError for a folder without any, for two of one stem, whose results would have one name, and for a stem
    that is no safe file name (see `disk.names.image_names`).
    """
    found: list[Path] = []
    for place in places:
        path = Path(place)
        found += list_images(path) if path.is_dir() else [path]
    by_name: dict[str, Path] = {}
    for path in found:
        other = by_name.setdefault(path.stem, path)
        if other is not path:
            raise UserError(f"{other} and {path} are both called {path.stem!r}, and so would be their results: rename "
                            "one, or call twice with two output folders")
    image_names(by_name)
    return found


def read_input(path: Path, size: int, mode: str, align: Align) -> Input:
    """Read a picture as one of `size` px; `align` cuts out the face where `mode`, one of ALIGN, says so.

    Turned as its EXIF says; grey becomes RGB, transparent parts white; of an animation the first frame counts. Raises
    UserError for a file that is no such picture (see `images.files.read_picture`), is smaller than `SMALLEST`, has no
    face where one is looked for, or is not square where none is.
    """
    assert mode in ALIGN, mode
    picture = read_picture(path)
    height, width, _ = picture.pixels.shape
    if min(height, width) < SMALLEST:
        raise UserError(f"{path}: {width} x {height} pixels are too few; at least {SMALLEST} x {SMALLEST} are needed")
    if mode == "always" or mode == "auto" and height != width:
        one = align(path)
        return Input(resized(one.pixels, size), one.to_json(), one.remarks)
    if height != width:
        raise UserError(f"{path}: {width} x {height} pixels are not square, and --align never cuts no face out")
    remarks = picture.remarks()
    if mode == "auto":
        remarks.append("it is square, so it is taken for an aligned face (--align always cuts the face out)")
    if height < size:
        remarks.append(f"its {width} px are enlarged to {size}: what they lack stays missing")
    return Input(resized(picture.pixels, size), None, tuple(remarks))


def resized(pixels: np.ndarray, size: int) -> np.ndarray:
    """Return uint8 [H, H, 3] as [size, size, 3] by Lanczos' filter, antialiased; itself where nothing changes."""
    if pixels.shape[0] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))


def read_all(paths: Iterable[Path], size: int, mode: str, align: Align,
             skip_bad: bool) -> tuple[dict[str, Input], list[str]]:
    """Return {name: input} of pictures, and what was left out; UserError for the first bad one without `skip_bad`.

    None left is an error all the same.
    """
    found, bad = {}, []
    for path in paths:
        try:
            found[path.stem] = read_input(path, size, mode, align)
        except UserError as error:
            if not skip_bad:
                raise
            bad.append(str(error))
    if not found:
        raise UserError("no picture is left to invert: " + "; ".join(bad))
    return found, bad

"""Pictures as they are inverted: upright, square, of the generator's size, under names that make good file names."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from jittor_ipl.disk.names import image_names
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import list_images, load_flattened

SMALLEST = 32       # px of a picture's shorter side: below it no face can be told


def picture_files(places: Sequence[str]) -> list[Path]:
    """Return the picture files that `places` name, files or folders, in order; UserError for none, or one twice."""
    found: list[Path] = []
    for place in places:
        path = Path(place)
        found += list_images(path) if path.is_dir() else [path]
    names = [path.stem for path in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"two pictures are called {twice!r}: their results would be one folder; rename one")
    image_names(names)
    return found


def square(path: Path, size: int) -> tuple[np.ndarray, list[str]]:
    """Read an aligned picture as uint8 [size, size, 3], and return what a person should know about it.

    Turned as its EXIF says; grey becomes RGB, transparent parts white; of an animation the first frame counts. Raises
    UserError for a file that is no such picture (see `images.files.load_flattened`), is smaller than `SMALLEST`, or
    is not square.
    """
    pixels, transparent = load_flattened(path)
    height, width, _ = pixels.shape
    notes = [f"{path.name}: transparent parts became white"] if transparent else []
    if min(height, width) < SMALLEST:
        raise UserError(f"{path}: {width} x {height} pixels are too few; at least {SMALLEST} x {SMALLEST} are needed")
    if height != width:
        raise UserError(f"{path}: {width} x {height} pixels are not square: align the face first (--align)")
    if height < size:
        notes.append(f"{path.name}: {width} px are enlarged to {size}: what they lack stays missing")
    return resized(pixels, size), notes


def resized(pixels: np.ndarray, size: int) -> np.ndarray:
    """Return uint8 [H, H, 3] as [size, size, 3] by Lanczos' filter, antialiased; itself where nothing changes."""
    if pixels.shape[0] == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.LANCZOS))


def read_all(paths: Iterable[Path], size: int, skip_bad: bool) -> tuple[dict[str, np.ndarray], list[str]]:
    """Return {name: pixels uint8 [size, size, 3]} of aligned pictures, and notes; UserError for the first bad one.

    `skip_bad` turns that into a note; none left is an error all the same.
    """
    found, notes = {}, []
    for path in paths:
        try:
            found[path.stem], more = square(path, size)
            notes += more
        except UserError as error:
            if not skip_bad:
                raise
            notes.append(f"left out: {error}")
    if not found:
        raise UserError("no picture is left to invert: " + "; ".join(notes))
    return found, notes

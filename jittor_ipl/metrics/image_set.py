"""A set of pictures of one size, from a folder or from memory, with the SHA-256 of its pixels."""
from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from jittor_ipl.errors import UserError, nearest
from jittor_ipl.images.files import list_images, read_picture
from jittor_ipl.images.pixels import to_uint8

MAX_SIDE = 4096             # of --size
IN_MEMORY = 1 << 30         # bytes of pixels that are kept; a larger folder is read again for every network


@dataclass(frozen=True)
class ImageSet:
    """Pictures of one size."""

    label: str                      # what messages and reports call the set
    names: tuple[str, ...]          # of the pictures, for pairing; numbers for a set from memory
    size: tuple[int, int]           # height and width in pixels
    skipped: tuple[str, ...] = ()   # damaged files that `skip_bad` passed over: name and fault
    named: bool = False             # whether `names` are those of files
    resized: int | None = None      # the side that every picture was brought to
    flattened: int = 0              # pictures with transparent parts, which were laid over white
    _pixels: np.ndarray | None = field(default=None, repr=False)
    _paths: tuple[Path, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def pixels(self, rows: Sequence[int]) -> np.ndarray:
        """Return the pictures at `rows`: uint8 [B, H, W, 3]."""
        if self._pixels is not None:
            return self._pixels[list(rows)]
        return np.stack([_read(self._paths[row], self.resized)[0] for row in rows])

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Yield all pictures in order, `size` at a time: uint8 [B, H, W, 3]."""
        for start in range(0, len(self), size):
            yield self.pixels(range(start, min(start + size, len(self))))

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of size, order and pixels, whatever the files are called and however they are packed."""
        digest = hashlib.sha256(f"{len(self)} {self.size[0]} {self.size[1]}\n".encode())
        for batch in self.batches(64):
            digest.update(np.ascontiguousarray(batch).data)
        return digest.hexdigest()

    def select(self, rows: Sequence[int]) -> "ImageSet":
        """Return the pictures at `rows` as a set of their own."""
        rows = list(rows)
        return replace(self, names=tuple(self.names[row] for row in rows),
                       _pixels=None if self._pixels is None else self._pixels[rows],
                       _paths=tuple(self._paths[row] for row in rows) if self._paths else ())


def from_array(images: np.ndarray, label: str = "images") -> ImageSet:
    """Return the set of pictures in memory: uint8 [N, H, W, 3], or float [N, 3, H, W] in [-1, 1], brought to 8 bits.

    Raises UserError for another shape and for values that are not finite.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        if images.dtype.kind != "f" or images.ndim != 4 or images.shape[1] != 3:
            raise UserError(f"{label}: float pictures are [N, 3, H, W] in [-1, 1], "
                            f"got {images.dtype} {list(images.shape)}")
        if not np.isfinite(images).all():
            raise UserError(f"{label}: a picture contains NaN or infinity")
        images = to_uint8(images)
    if images.ndim != 4 or images.shape[3] != 3:
        raise UserError(f"{label}: 8-bit pictures are [N, H, W, 3], got {list(images.shape)}")
    return ImageSet(label, tuple(map(str, range(len(images)))), tuple(images.shape[1:3]), _pixels=images)


def from_folder(folder: str | Path, label: str = "images", *, skip_bad: bool = False,
                size: int | None = None) -> ImageSet:
    """Read the pictures of a folder, sorted by name; every file is decoded once before anything is measured.

    `size` cuts each to its central square and resizes that to size x size (Pillow, bicubic with antialiasing). Raises
    UserError for a size above MAX_SIDE, an empty folder, mixed sizes, two pictures of one name, and a damaged file
    unless `skip_bad`.
    """
    if size is not None and not 1 <= size <= MAX_SIDE:
        raise UserError(f"pictures cannot be brought to {size} x {size}; choose a size of 1 to {MAX_SIDE}")
    paths, pixels, skipped, used, flattened, shape = [], [], [], 0, 0, ()
    for path in list_images(folder):
        try:
            picture, transparent = _read(path, size)
        except UserError as error:
            if not skip_bad:
                raise UserError(f"{error} (--skip-bad leaves such pictures out and counts them)") from error
            skipped.append(f"{path.name}: {str(error).removeprefix(f'{path}: ')}")
            continue
        shape = shape or picture.shape[:2]
        if picture.shape[:2] != shape:
            raise UserError(f"{paths[0].name} has {shape[1]} x {shape[0]} pixels, {path.name} has {picture.shape[1]} x "
                            f"{picture.shape[0]}: the pictures of a set have one size (--size N brings all to N x N)")
        paths.append(path)
        used += picture.nbytes
        flattened += transparent
        if used <= IN_MEMORY:
            pixels.append(picture)
    if not paths:
        raise UserError(f"{str(folder)!r} holds no picture that can be read ({len(skipped)} damaged)")
    stems = [path.stem for path in paths]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise UserError(f"{str(folder)!r} holds two pictures named {twice!r}; names pair pictures and must differ")
    return ImageSet(label, tuple(stems), shape, tuple(skipped), True, size, flattened,
                    np.stack(pixels) if used <= IN_MEMORY else None, tuple(paths))


def _read(path: Path, size: int | None) -> tuple[np.ndarray, bool]:
    """Return the picture, brought to `size`, and whether transparent parts of it became white."""
    picture = read_picture(path)
    pixels, flattened = picture.pixels, picture.transparent
    if size is None:
        return pixels, flattened
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(pixels[top:top + side, left:left + side])
    return np.asarray(square if side == size else square.resize((size, size), Image.Resampling.BICUBIC)), flattened


def paired(images: ImageSet, source: ImageSet) -> tuple[ImageSet, ImageSet]:
    """Return both sets with only the pictures that form pairs, by file name, or by position for sets from memory.

    Raises UserError when a picture has no partner (unless its partner was skipped as damaged) or sizes differ.
    """
    if images.size != source.size:
        (h, w), (height, width) = images.size, source.size
        raise UserError(f"{images.label} have {w} x {h} pixels, {source.label} {width} x {height}: pairs have one size "
                        "(--size N brings all to N x N)")
    if not (images.named and source.named):
        if len(images) != len(source):
            raise UserError(f"{len(images)} {images.label} and {len(source)} {source.label} do not form pairs")
        return images, source
    rows = {name: row for row, name in enumerate(source.names)}
    lost = {entry.split(": ")[0].rsplit(".", 1)[0] for entry in (*images.skipped, *source.skipped)}
    for one, other in ((images, source), (source, images)):
        partners = {*other.names, *lost}
        alone = next((name for name in one.names if name not in partners), None)
        if alone is not None:
            raise UserError(f"{one.label}: {alone!r} has no partner in {other.label}{nearest(alone, other.names)}; "
                            "pairs have equal file names")
    both = [row for row, name in enumerate(images.names) if name in rows]
    return images.select(both), source.select([rows[images.names[row]] for row in both])

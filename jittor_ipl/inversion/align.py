"""A photograph to the square that face generators learnt from: FFHQ's alignment (Karras et al. 2019, appendix C)."""
from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.images.files import read_picture
from jittor_ipl.images.quads import cut_square
from jittor_ipl.inversion.detect import BY_HAND, Face, find_faces
from jittor_ipl.inversion.landmarks import Landmarks, landmarks_for

MIN_SIZE, MAX_SIZE = 16, 4096
_MUCH_OUTSIDE, _MUCH_ENLARGED = 0.15, 2.0       # of the square, and times: what is worth a remark


@dataclass(frozen=True)
class Aligned:
    """One face cut out of one picture.

    path        the picture's file
    pixels      uint8 [size, size, 3]
    quad        float64 [4, 2], the square's corners in the upright picture: upper and lower left, lower and upper right
    landmarks   eyes and mouth that say where the square lies, in the same pixels
    found_by    "dlib" or "given"
    face        its box, where dlib found it
    others      further faces that were found, the largest first
    outside     share of the square that lay outside of the picture, 0..1
    remarks     what its owner might not expect, in words
    """

    path: Path
    pixels: np.ndarray
    quad: np.ndarray
    landmarks: Landmarks
    found_by: str
    face: Face | None
    others: tuple[Face, ...]
    outside: float
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return all but the pixels, ready for JSON; `landmarks.read_landmarks` reads it again."""
        marks = self.landmarks
        return {**({"landmarks": marks.points} if marks.points else {}), "eyes": [marks.eye_left, marks.eye_right],
                "mouth": marks.mouth, "quad": self.quad.tolist(), "size": len(self.pixels), "found_by": self.found_by,
                "box": self.face and self.face.box, "other_boxes": [face.box for face in self.others],
                "outside": round(self.outside, 4), "remarks": list(self.remarks)}


def aligned(path: str | os.PathLike, size: int = 256, *, transform_size: int | None = None,
            landmarks: Landmarks | Mapping[str, Landmarks] | None = None, predictor: str | os.PathLike | None = None,
            face: int = 1, padding: bool = True) -> Aligned:
    """Return the face in a picture file, cut out upright as uint8 [size, size, 3].

    size, transform_size   as `images.quads.cut_square`: 256 and 256 for pSp, e4e and ReStyle, 1024 and 4096 for FFHQ
    landmarks              where the face is, or a landmarks file's content (`read_landmarks`); found by dlib when None
    predictor              dlib's 68-point file, see `detect.predictor_file`
    face                   which of the faces that dlib finds: 1 is the largest
    padding                mirror what the square needs beyond the picture; black without

    Raises UserError, with the file's name and the next step, for a picture that cannot be read or has no face, for a
    place that is none, and without dlib where it is needed.
    """
    check_sizes(size, transform_size)
    picture = read_picture(path)
    height, width, _ = picture.pixels.shape
    label, faces = Path(path), []
    try:
        if landmarks is None:
            faces = find_faces(picture.pixels, predictor)
            chosen = _chosen(faces, face)
            marks = chosen.landmarks
        else:
            chosen, marks = None, landmarks if isinstance(landmarks, Landmarks) else landmarks_for(path, landmarks)
        marks.check(width, height)
    except UserError as error:
        raise UserError(f"{label}: {error}") from error
    quad = marks.quad()
    pixels, outside = cut_square(picture.pixels, quad, size, transform_size, padding)
    others = tuple(other for other in faces if other is not chosen)
    remarks = (*picture.remarks(), *_remarks(quad, size, outside, padding, chosen, others))
    return Aligned(label, pixels, quad, marks, "given" if chosen is None else "dlib", chosen, others, outside, remarks)


def check_sizes(size: int, transform_size: int | None = None) -> None:
    """Raise UserError unless pictures of `size` can be sampled at `transform_size`."""
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise UserError(f"aligned pictures of {size} px; {MIN_SIZE} to {MAX_SIZE} px are possible")
    if transform_size is not None and not size <= transform_size <= MAX_SIZE:
        raise UserError(f"a picture of {size} px cannot be sampled at {transform_size} px; choose one in "
                        f"{size}..{MAX_SIZE}")


def _chosen(faces: list[Face], number: int) -> Face:
    if not faces:
        raise UserError(f"no face was found; if there is one, {BY_HAND}")
    if not 1 <= number <= len(faces):
        raise UserError(f"there is no face {number}; {len(faces)} found: {_listed(faces)}")
    return faces[number - 1]


def _listed(faces: list[Face] | tuple[Face, ...], first: int = 1) -> str:
    return ", ".join(f"{number}: {face}" for number, face in enumerate(faces, first))


def _remarks(quad: np.ndarray, size: int, outside: float, padding: bool, chosen: Face | None,
             others: tuple[Face, ...]) -> list[str]:
    """Return in words what may surprise: other faces, a small one, much that is not in the picture."""
    told, side = [], float(np.hypot(*(quad[3] - quad[0])))
    if others:
        told.append(f"{len(others) + 1} faces; this is the one of {chosen}, not " + ", ".join(map(str, others[:8]))
                    + (", ..." if len(others) > 8 else ""))
    if side * _MUCH_ENLARGED < size:
        told.append(f"the square of {side:.0f} px is enlarged {size / side:.1f} times")
    if outside > _MUCH_OUTSIDE:
        border = "mirrored" if padding else "black"
        told.append(f"{outside:.0%} of the square lies outside of the picture and is {border}")
    return told

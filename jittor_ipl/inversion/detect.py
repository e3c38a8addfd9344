"""Faces and their 68 landmarks found by dlib, which is optional: requirements-faces.txt."""
from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from jittor_ipl.disk.small_files import require_file
from jittor_ipl.errors import UserError
from jittor_ipl.inversion.landmarks import Landmarks, landmarks_of

if TYPE_CHECKING:
    import dlib

FILE = "shape_predictor_68_face_landmarks.dat"
DEBIAN = Path("/usr/share/dlib") / FILE
VARIABLE = "JITTOR_IPL_FACE_LANDMARKS"
BY_HAND = "give its place with --eyes x,y,x,y --mouth x,y, or --landmarks FILE.json"
MAX_ENLARGED = 13_000_000       # pixels of a picture that is doubled, a telephone's included: 1 GB, six seconds
MAX_DETECTED = 24_000_000       # pixels that faces are looked for in; in larger pictures at half size
_SAME = 0.4                     # least overlap of two boxes of one face
Box = tuple[int, int, int, int]     # left, top, right, bottom


@dataclass(frozen=True)
class Face:
    """One face: its box (left, top, right, bottom) and its landmarks, in pixels."""

    box: Box
    landmarks: Landmarks

    @property
    def area(self) -> int:
        """Pixels in the box."""
        return _area(self.box)

    def __str__(self) -> str:
        left, top, right, bottom = self.box
        return f"{right - left} x {bottom - top} px at {left},{top}"


def find_faces(pixels: np.ndarray, predictor: str | os.PathLike | None = None) -> list[Face]:
    """Return the faces in a picture uint8 [H, W, 3], the largest first; [] when there is none.

    dlib's frontal face detector (histograms of oriented gradients) on the picture as it is, then enlarged twofold.
    Enlarged, as pSp, e4e and ReStyle look at it, boxes lie closer and faces are found from 40 px on, but now and then
    one that is none. So the enlarged picture tells where a face is, and how many there are only if none was found
    before. `predictor` is the 68-point file, by default $JITTOR_IPL_FACE_LANDMARKS or where packages put it. Raises
    UserError without dlib or without that file.
    """
    library, predict = _dlib(), _predictor(str(predictor_file(predictor)))
    boxes = [library.rectangle(*box) for box in _boxes(library.get_frontal_face_detector(), pixels)]
    faces = [Face((box.left(), box.top(), box.right(), box.bottom()), _landmarks(predict(pixels, box)))
             for box in boxes]
    return sorted(faces, key=lambda face: -face.area)


def _boxes(detector: Any, pixels: np.ndarray) -> list[Box]:
    height, width, _ = pixels.shape
    scale = 2 if width * height > MAX_DETECTED else 1
    seen = np.array(Image.fromarray(pixels).reduce(scale)) if scale > 1 else pixels
    found = _detected(detector, seen, 0, scale)
    if width * height > MAX_ENLARGED:
        return found
    return refined(found, _detected(detector, seen, 1, scale))


def _detected(detector: Any, pixels: np.ndarray, enlarged: int, scale: int) -> list[Box]:
    return [tuple(scale * side for side in (box.left(), box.top(), box.right(), box.bottom()))
            for box in detector(pixels, enlarged)]


def refined(found: list[Box], enlarged: list[Box]) -> list[Box]:
    """Return the box of the enlarged picture for each one that was `found`; all of them where none was."""
    if not found:
        return enlarged
    best = [max(enlarged, key=lambda box: overlap(box, one), default=one) for one in found]
    return [new if overlap(new, one) >= _SAME else one for one, new in zip(found, best)]


def overlap(a: Box, b: Box) -> float:
    """Return the share of two boxes' common area in all that they cover, 0..1."""
    width, height = (max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) for i in (0, 1))
    common = width * height
    return common / max(_area(a) + _area(b) - common, 1)


def _area(box: Box) -> int:
    left, top, right, bottom = box
    return (right - left) * (bottom - top)


def _landmarks(shape: Any) -> Landmarks:
    return landmarks_of(np.array([[part.x, part.y] for part in shape.parts()]))


def _dlib() -> "dlib":
    try:
        import dlib
    except ImportError as error:
        raise UserError("dlib, which finds faces, is not installed: pip install -r requirements-faces.txt; or "
                        + BY_HAND) from error
    return dlib


@lru_cache(maxsize=1)
def _predictor(path: str) -> Any:
    library = _dlib()
    try:
        require_file(path)
        predict = library.shape_predictor(path)
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path} is no landmark file of dlib: {' '.join(str(error).split())[:120]}") from error
    blank = predict(np.zeros((32, 32, 3), np.uint8), library.rectangle(0, 0, 31, 31))
    if blank.num_parts != 68:
        raise UserError(f"{path} gives {blank.num_parts} landmarks; the alignment of FFHQ takes 68 ({FILE})")
    return predict


def predictor_file(path: str | os.PathLike | None = None) -> Path:
    """Return dlib's 68-point file: `path`, or the first place where there is one; UserError says where to get it."""
    named = path or os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise UserError(f"there is no file {str(named)!r}; dlib's landmarks are in {FILE}")
        return Path(named)
    found = next((place for place in _places() if place.is_file()), None)
    if found is None:
        raise UserError(f"dlib's {FILE} is missing: apt-get install libdlib-data, or pip install --no-deps "
                        f"face-recognition-models, or name it with --predictor or ${VARIABLE}; or {BY_HAND}")
    return found


def _places() -> Sequence[Path]:
    package = importlib.util.find_spec("face_recognition_models")
    inside = [Path(folder) / "models" / FILE for folder in package.submodule_search_locations or ()] if package else []
    return [DEBIAN, *inside]

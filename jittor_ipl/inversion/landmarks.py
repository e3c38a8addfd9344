"""Where eyes and mouth are in a picture: from 68 or 5 landmarks, from a JSON file, or given by hand.

All points are x and y in pixels of the picture as people see it (turned as its EXIF data says), 0 0 at the middle of
the upper left pixel. Left and right are the picture's.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ipl.disk.small_files import json_object, read_small
from jittor_ipl.errors import UserError, nearest

FORMAT = ('{"photo.jpg": [[x, y], ...]} with 68 points, or 5 (left eye, right eye, nose, left and right corner of the '
          "mouth)")
_FILE_BYTES = 64 << 20      # FFHQ's own list of 70,000 faces is larger; a few thousand are not
_KEYS = ("landmarks", "face_landmarks")     # of an object that holds one picture's points; FFHQ's list says the latter
_LARGEST = 1e6              # of a coordinate


@dataclass(frozen=True)
class Landmarks:
    """What FFHQ's alignment knows of a face: the middles of the eyes and of the mouth, each x and y in pixels."""

    eye_left: tuple[float, float]
    eye_right: tuple[float, float]
    mouth: tuple[float, float]
    points: tuple[tuple[float, float], ...] = ()        # the 68 or 5 that they come from

    def quad(self) -> np.ndarray:
        """Return FFHQ's square float64 [4, 2]: upper left, lower left, lower right, upper right (Karras et al. 2019).

        Its side is four times the distance of the eyes or 3.6 times that from eyes to mouth, whichever is more.
        """
        left, right, mouth = (np.array(point, np.float64) for point in (self.eye_left, self.eye_right, self.mouth))
        eyes, eye_to_eye = (left + right) * 0.5, right - left
        eye_to_mouth = mouth - eyes
        x = eye_to_eye - np.flipud(eye_to_mouth) * [-1, 1]
        x /= np.hypot(*x)
        x *= max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8)
        y = np.flipud(x) * [-1, 1]
        centre = eyes + eye_to_mouth * 0.1
        return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])

    def check(self, width: int, height: int) -> None:
        """Raise UserError unless this is a face in a picture of that size, in the order that the fields say."""
        for name, point in (("left eye", self.eye_left), ("right eye", self.eye_right), ("mouth", self.mouth)):
            if not (-1 <= point[0] <= width and -1 <= point[1] <= height):
                raise UserError(f"the {name} at {_shown(point)} is outside the picture of {width} x {height} pixels; "
                                "points are x,y in pixels from its upper left corner")
        eyes, mouth = (np.subtract(self.eye_right, self.eye_left),
                       np.subtract(self.mouth, np.add(self.eye_left, self.eye_right) / 2))
        across, down = float(np.hypot(*eyes)), float(np.hypot(*mouth))
        turn = float(eyes[0] * mouth[1] - eyes[1] * mouth[0])
        if min(across, down) < 1 or abs(turn) < 0.1 * across * down:
            raise UserError(f"eyes at {_shown(self.eye_left)} and {_shown(self.eye_right)} and a mouth at "
                            f"{_shown(self.mouth)} lie on one line or on one another: no face")
        if turn < 0:
            raise UserError(f"the eyes at {_shown(self.eye_left)} and {_shown(self.eye_right)} are swapped, seen from "
                            "the mouth: give the one on the picture's left first")


def _shown(point: Sequence[float]) -> str:
    return ",".join(f"{value:.6g}" for value in point)


def landmarks_of(points: np.ndarray) -> Landmarks:
    """Return what points [n, 2] say, 68 in iBUG's order, as dlib gives them, or 5 in MTCNN's; UserError for others."""
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or len(points) not in (5, 68):
        raise UserError(f"{' x '.join(map(str, points.shape))} numbers are no landmarks; {FORMAT}")
    if len(points) == 68:
        left, right, mouth = points[36:42].mean(0), points[42:48].mean(0), (points[48] + points[54]) * 0.5
    else:
        left, right, mouth = points[0], points[1], (points[3] + points[4]) * 0.5
    return _checked(Landmarks(_point(left), _point(right), _point(mouth), tuple(map(_point, points))))


def _checked(marks: Landmarks) -> Landmarks:
    for value in (*marks.eye_left, *marks.eye_right, *marks.mouth):
        if not abs(value) < _LARGEST:       # NaN, too
            raise UserError("a landmark is no finite number of pixels")
    return marks


def _point(values: Sequence[float]) -> tuple[float, float]:
    x, y = map(float, values)
    return x, y


def by_hand(eyes: str, mouth: str) -> Landmarks:
    """Return the face that texts such as "203,101,246,104" and "223,140" give; UserError for others.

    The mouth is its middle, or both corners as the eyes.
    """
    four, two = _numbers(eyes, "eyes", (4,)), _numbers(mouth, "mouth", (2, 4))
    middle = two if len(two) == 2 else ((two[0] + two[2]) / 2, (two[1] + two[3]) / 2)
    return Landmarks(_point(four[:2]), _point(four[2:]), _point(middle))


def given_landmarks(file: str | Path | None, eyes: str | None, mouth: str | None,
                    pictures: int = 1) -> Landmarks | dict[str, Landmarks] | None:
    """Return what the options of a command say about the faces in `pictures` pictures; None when it is nothing.

    Raises UserError for eyes without a mouth, for both ways at once, and for one place in several pictures.
    """
    if (eyes is None) != (mouth is None):
        raise UserError("--eyes and --mouth belong together: x,y of both eyes, x,y of the mouth")
    if eyes is None:
        return None if file is None else read_landmarks(file)
    if file is not None or pictures != 1:
        raise UserError("--eyes and --mouth are of one picture; a file for --landmarks holds those of several"
                        if file is None else "give --eyes and --mouth or --landmarks, not both")
    return by_hand(eyes, mouth)


def _numbers(text: str, what: str, counts: tuple[int, ...]) -> list[float]:
    try:
        values = [float(part) for part in text.replace(";", ",").split(",")]
    except ValueError:
        values = []
    if len(values) not in counts or not all(math.isfinite(value) and abs(value) < _LARGEST for value in values):
        wanted = "x,y,x,y" if what == "eyes" else "x,y of the middle, or x,y,x,y of its corners"
        raise UserError(f"--{what} {text[:60]!r}: give {wanted} in pixels")
    return values


def read_landmarks(path: str | Path) -> dict[str, Landmarks]:
    """Return the faces in a JSON file by their pictures' names; the one key "" stands for any picture.

    The file is an object of names and points (`FORMAT`), or the points of one picture: a list, or an object whose
    "landmarks" or "face_landmarks" they are. In place of points may stand {"eyes": [[x, y], [x, y]], "mouth": [x, y]},
    as the `align` command writes them into aligned.json. Raises UserError for anything else, with the picture's name.
    """
    data = read_small(path, "landmarks file", _FILE_BYTES)
    if data.lstrip()[:1] == b"[":
        data = b'{"landmarks": ' + data + b"}"
    content = json_object(data, path, "landmarks file")
    single = any(isinstance(content.get(key), list) for key in (*_KEYS, "eyes"))
    entries = {"": content} if single else content
    if not entries:
        raise UserError(f"{path} names no picture; a landmarks file holds {FORMAT}")
    return {name: _entry(value, f"{path}, {name!r}" if name else str(path)) for name, value in entries.items()}


def _entry(value: Any, label: str) -> Landmarks:
    by_hand_ = isinstance(value, dict) and not any(key in value for key in _KEYS)
    try:
        if by_hand_:
            (left, right), mouth = value["eyes"], value["mouth"]
            return _checked(Landmarks(_point(left), _point(right), _point(mouth)))
        points = next(value[key] for key in _KEYS if key in value) if isinstance(value, dict) else value
        return landmarks_of(np.array(points, np.float64))
    except UserError as error:
        raise UserError(f"{label}: {error}") from error
    except (TypeError, ValueError, KeyError, OverflowError):
        raise UserError(f"{label}: these are no landmarks; {FORMAT}") from None


def landmarks_for(path: str | Path, known: dict[str, Landmarks]) -> Landmarks:
    """Return the face of one picture, found by its file's name; UserError when the landmarks file does not name it."""
    name = Path(path).name
    found = known.get("") or known.get(name) or known.get(str(path))
    if found is None:
        raise UserError(f"the landmarks file does not name {name!r}{nearest(name, known)}; it names "
                        + ", ".join([*map(repr, list(known)[:4]), *(["..."] if len(known) > 4 else [])]))
    return found

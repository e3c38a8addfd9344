"""The frames of a movie: an edit from weak to strong, a walk from face to face, a generator turning into another."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from jittor_ipl.editing.codes import Faces, Styles, styles_of
from jittor_ipl.editing.drawing import draw
from jittor_ipl.errors import UserError
from jittor_ipl.images.sheets import grid
from jittor_ipl.models.mappers import LEVELS, level_slices
from jittor_ipl.models.strict import numpy_tensors
from jittor_ipl.models.stylegan2.generator import Generator


def eased(frames: int) -> list[float]:
    """Return `frames` times from 0 towards 1, slow at both ends; 1 itself is the next leg's 0."""
    return [0.5 - 0.5 * math.cos(math.pi * i / frames) for i in range(frames)]


def there_and_back(frames: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return frames and the way back, neither end twice, so that the movie can repeat."""
    return [*frames, *frames[-2:0:-1]]


def edit_frames(faces: Faces, edited: Callable[[float], Styles], first: float, last: float,
                frames: int) -> Iterator[np.ndarray]:
    """Yield pictures of all faces side by side under an edit whose strength goes from `first` to `last`.

    edited   strength -> S codes [N, C] a style layer of all faces
    """
    for t in [*eased(frames), 1.0]:
        yield together(list(draw(faces.generator, edited(first + t * (last - first)))))


def walk_frames(faces: Faces, frames: int, levels: str = "all", closed: bool = True) -> Iterator[np.ndarray]:
    """Yield pictures on the way from each face to the next, `frames` a leg, and with `closed` back to the first.

    levels   "all", or "coarse", "medium" or "fine": of the first face only these layers of W+ change (style mixing)

    UserError for fewer than two faces, and for levels of faces that have S codes alone.
    """
    count = len(faces.names)
    if count < 2:
        raise UserError("a walk needs two faces or more: --seeds 0-3")
    for here in range(count if closed else count - 1):
        for t in eased(frames):
            yield _on_the_way(faces, here, (here + 1) % count, t, levels)
    if not closed:
        yield _on_the_way(faces, count - 1, count - 1, 0.0, levels)


def _on_the_way(faces: Faces, here: int, there: int, t: float, levels: str) -> np.ndarray:
    """Return the picture at the part t of the way between two faces."""
    if levels == "all":         # S is affine in w: straight there is straight here
        styles = tuple((1 - t) * code[here:here + 1] + t * code[there:there + 1] for code in faces.styles)
        return next(draw(faces.generator, styles))
    if faces.ws is None:
        raise UserError(f"{faces.names[0]} has S codes; --levels {levels} needs W or W+ codes, or seeds")
    chosen = dict(zip(LEVELS, level_slices(faces.ws.shape[1])))[levels]
    ws = faces.ws[:1].copy()
    ws[:, chosen] = (1 - t) * faces.ws[here:here + 1, chosen] + t * faces.ws[there:there + 1, chosen]
    return next(draw(faces.generator, styles_of(faces.generator, ws)))


def weight_frames(faces: Faces, generators: Sequence[Generator], frames: int,
                  closed: bool = True) -> Iterator[np.ndarray]:
    """Yield pictures of all faces side by side while the weights go from each generator to the next, and back.

    Generators adapted from one source share its layers' meaning, so what lies between two of them draws faces, too.
    UserError for codes that the generators do not share, and generators of other sizes.
    """
    if faces.ws is None:
        raise UserError(f"{faces.names[0]} has S codes, which belong to one generator: give W+ codes or seeds")
    tensors = [numpy_tensors(generator) for generator in generators]
    shapes = [{name: value.shape for name, value in one.items()} for one in tensors]
    if any(one != shapes[0] for one in shapes):
        raise UserError("these generators have other layers: only those adapted from one source turn into each other")
    moving, count = generators[0].copy(), len(generators)
    places = [(a, (a + 1) % count, t) for a in range(count if closed else count - 1) for t in eased(frames)]
    for a, b, t in [*places, *([] if closed else [(count - 1, count - 1, 0.0)])]:
        moving.put({name: mixed(value, tensors[b][name], t) for name, value in tensors[a].items()
                    if not name.endswith(".kernel")})
        yield together(list(draw(moving, styles_of(moving, faces.ws))))


def mixed(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """Return (1 - t) a + t b in a's type; equal values keep their bits."""
    return np.where(a == b, a, (1 - t) * a + t * b).astype(a.dtype)


def together(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Return pictures uint8 [H, W, 3] as one frame: alone, in a row of up to four, or as a square."""
    columns = len(pictures) if len(pictures) <= 4 else math.ceil(math.sqrt(len(pictures)))
    return grid(pictures, columns, pad=0)

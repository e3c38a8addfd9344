"""What the demo world can picture, portraits in eleven styles and pets in four, taught and judged the same way."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jittor_ipl.world.drawing import looks, pet, portrait
from jittor_ipl.world.drawing.attributes import PET, PORTRAIT, Face, Table


@dataclass(frozen=True)
class Subject:
    """One kind of picture.

    name         the subject's name
    table        its attributes
    looks        its styles by name, the source style first
    paint        (faces, look, size) -> float32 [B, 3, size, size] in [0, 1]
    supersample  how many times larger than asked for its pictures are painted
    hues         attributes that are colours of the picture, which another palette takes away
    """

    name: str
    table: Table
    looks: dict
    paint: Callable[..., np.ndarray]
    supersample: int
    hues: tuple[str, ...]

    def __reduce__(self) -> tuple:
        """A worker process takes its own subject of this name: functions without a name do not travel."""
        return _subject_named, (self.name,)

    def render(self, faces: Face, style: str, size: int = 64, without: frozenset[str] = frozenset()) -> np.ndarray:
        """Render faces in one style; uint8 [B, 3, size, size]. Raises KeyError for a style that is not in `styles`.

        without: which of the style's `features` to leave out; its palette stays.
        """
        times = self.supersample
        look = looks.portrait_without(style, without) if without else self.looks[style]
        rgb = self.paint(faces, look, size * times)
        rgb = rgb.reshape(-1, 3, size, times, size, times).mean(axis=(3, 5))
        return np.floor(rgb * 255 + .5).astype(np.uint8)

    def features(self, style: str) -> tuple[str, ...]:
        """What a person names a style by ("pointed ears", "circlet"); known of the portraits' target styles alone."""
        return tuple(looks.FEATURES.get(style, ())) if self.looks is looks.PORTRAIT else ()

    @property
    def styles(self) -> tuple[str, ...]:
        """The names of its styles, the source style first."""
        return tuple(self.looks)

    @property
    def prefix(self) -> str:
        """What the names of the subject's assets begin with: "demo:pets-generator", but "demo:generator"."""
        return "" if self.name == "portraits" else f"{self.name}-"

    @property
    def source(self) -> str:
        """The source style."""
        return self.styles[0]

    @property
    def sections(self) -> tuple[int, ...]:
        """How many values the style and every attribute have, in order: the sizes of a judge's heads."""
        return (len(self.styles), *(len(values) for values in self.table.values.values()))


PORTRAITS = Subject("portraits", PORTRAIT, looks.PORTRAIT, portrait.paint, 1, ("skin", "hair", "background"))
PETS = Subject("pets", PET, looks.PET, pet.paint, 2, ("coat", "eyes", "background"))
SUBJECTS = {subject.name: subject for subject in (PORTRAITS, PETS)}


def _subject_named(name: str) -> Subject:
    return SUBJECTS[name]


def subject_of(ref: str) -> Subject:
    """The subject that a demo generator draws, by its name ("demo:generator", "demo:pets-generator")."""
    return PETS if ref.startswith(f"demo:{PETS.prefix}") else PORTRAITS

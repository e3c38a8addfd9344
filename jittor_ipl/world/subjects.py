"""What the demo world can picture, portraits in eleven styles and pets in four, taught and judged the same way."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jittor_ipl.world.drawing import attributes, looks, pet_looks
from jittor_ipl.world.drawing.attributes import Table
from jittor_ipl.world.drawing.pet_attributes import PET


@dataclass(frozen=True)
class Subject:
    """One kind of picture.

    name     the subject's name
    table    its attributes
    styles   its styles, the source style first
    render   (faces, style, size) -> uint8 [B, 3, size, size]
    hues     attributes that are colours of the picture, which another palette takes away
    """

    name: str
    table: Table
    styles: tuple[str, ...]
    render: Callable[..., np.ndarray]
    hues: tuple[str, ...]

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


PORTRAITS = Subject("portraits", attributes.PORTRAIT, looks.STYLES, looks.render, ("skin", "hair", "background"))
PETS = Subject("pets", PET, pet_looks.STYLES, pet_looks.render, ("coat", "eyes", "background"))
SUBJECTS = {subject.name: subject for subject in (PORTRAITS, PETS)}


def subject_of(ref: str) -> Subject:
    """The subject that a demo generator draws, by its name ("demo:generator", "demo:pets-generator")."""
    return PETS if ref.startswith(f"demo:{PETS.prefix}") else PORTRAITS

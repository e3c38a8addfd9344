"""How pictures are described one by one: a sentence with slots, and for each slot the answers a CLIP chooses from.

A text file: the sentence first, such as "{gender} with {hair} hair", then one line a slot, "hair: a face with {} hair:
black | brown | red". Three ship: `portraits` and `pets` in words that the demo world's networks know, and `faces` for
models of the real world.
"""
from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from jittor_ipl.disk.small_files import read_lines
from jittor_ipl.errors import UserError
from jittor_ipl.text.prompt_lists import FOLDER

SHIPPED = ("portraits", "faces", "pets")     # in place of a file name in a configuration
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Question:
    """One part of a description: the sentence {} that a CLIP compares with the picture, and what may stand there."""

    name: str
    sentence: str
    answers: tuple[str, ...]

    def texts(self) -> list[str]:
        """Return the sentence with every answer in it."""
        return [self.sentence.replace("{}", answer) for answer in self.answers]


@dataclass(frozen=True)
class Description:
    """A sentence with slots."""

    sentence: str
    slots: tuple[Question, ...]

    def filled(self, answers: dict[str, str]) -> str:
        """Return the sentence with an answer in every slot."""
        return _SLOT.sub(lambda slot: answers[slot.group(1)], self.sentence)


def descriptions_path(name: str) -> Path:
    """Return the file that `teacher.describe` names: a path, or the shipped list."""
    return FOLDER / "descriptions" / f"{name}.txt" if name in SHIPPED else Path(name)


def read_description(path: str | os.PathLike) -> Description:
    """Return the description of a text file.

    Raises UserError, with the number of the line, for a line of another form, a slot that the sentence does not name or
    names without describing it, and fewer than two different answers.
    """
    lines = [(number, line) for number, line in enumerate(read_lines(path, "description"), 1)
             if line.strip() and not line.startswith("#")]
    if not lines:
        raise UserError(f"{path} describes nothing: write a sentence with {{slots}}, then one line a slot")
    wanted, slots = list(dict.fromkeys(_SLOT.findall(lines[0][1]))), {}
    for number, line in lines[1:]:
        parts = [part.strip() for part in line.split(":")]
        if len(parts) != 3 or "{}" not in parts[1]:
            raise UserError(f"{path}, line {number}: write \"name: a sentence with {{}}: answer | answer\"")
        answers = tuple(answer.strip() for answer in parts[2].split("|"))
        if len(set(answers)) < max(2, len(answers)):
            raise UserError(f"{path}, line {number}: a slot has at least two different answers, apart by |")
        if parts[0] not in wanted or parts[0] in slots:
            raise UserError(f"{path}, line {number}: the first line must name {parts[0]!r} in braces, and one line "
                            "must describe it")
        slots[parts[0]] = Question(parts[0], parts[1], answers)
    if missing := [name for name in wanted if name not in slots]:
        raise UserError(f"{path}: no line describes {', '.join(missing)}")
    return Description(lines[0][1], tuple(slots.values()))

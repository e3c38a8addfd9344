"""Descriptions of pictures: what a file may say, and mistakes told with their line."""
from __future__ import annotations

import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.text.descriptions import SHIPPED, descriptions_path, read_description

HAIR = "hair: a face with {} hair: black | red"


def read(tmp_path, text: str):
    path = tmp_path / "list.txt"
    path.write_text(text, encoding="utf-8")
    return read_description(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_lists_fill_every_slot(name):
    description = read_description(descriptions_path(name))
    said = description.filled({slot.name: slot.answers[0] for slot in description.slots})
    assert len(description.slots) >= 5 and "{" not in said
    for slot in description.slots:
        assert len(set(slot.texts())) == len(slot.answers) >= 2


def test_a_slot_may_stand_twice_and_comments_count_as_lines(tmp_path):
    description = read(tmp_path, f"# a comment\n{{hair}} with {{hair}}\n\n{HAIR}\n")
    assert description.filled({"hair": "red"}) == "red with red"
    assert description.slots[0].texts() == ["a face with black hair", "a face with red hair"]


@pytest.mark.parametrize("text, expected", [
    ("# nothing\n", "describes nothing"),
    ("{hair}\nhair: black | red\n", "line 2: write"),
    ("{hair}\nhair: a face: black | red\n", "line 2: write"),
    ("{hair}\n# twice\nhair: {}: black | black\n", "line 3: a slot has at least two different"),
    ("{hair}\nhair: {}: black\n", "line 2: a slot has at least two different"),
    (f"a face\n{HAIR}\n", "line 2: the first line must name 'hair'"),
    (f"{{hair}}\n{HAIR}\n{HAIR}\n", "line 3: the first line must name 'hair'"),
    (f"{{hair}} and {{skin}}\n{HAIR}\n", "no line describes skin"),
])
def test_a_mistake_is_told_with_its_line(tmp_path, text, expected):
    with pytest.raises(UserError) as told:
        read(tmp_path, text)
    assert expected in str(told.value) and "list.txt" in str(told.value) and "\n" not in str(told.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(UserError, match="none.txt"):
        read_description(descriptions_path(str(tmp_path / "none.txt")))

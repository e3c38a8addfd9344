"""What can be asked for: closed models, bounds, and mistakes told in one line."""
from __future__ import annotations

import json

import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.webui.requests import KINDS, parse

WHOLE = {
    "generate": {"styles": ["disney"], "seeds": "0,1,5-7", "truncation": 1, "strength": 0.5},
    "compare": {"style": "disney", "seed": 3}, "score": {"suite": "demo"},
    "align": {"upload": "0" * 16, "eyes": [[1, 2], [3, 4]], "mouth": [5, 6]},
    "invert": {"upload": "0" * 16, "styles": ["demo/00"]},
    "edit": {"seeds": [1], "target": "happy face", "offsets": [0, 2.5], "beta": 0.2},
    "learn": {"words": "cubism", "name": "mine"},
    "learn-pictures": {"name": "mine", "uploads": ["0" * 16, "1" * 16, "2" * 16]}}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_read_and_comes_back_from_its_json(kind):
    request = parse({"kind": kind, **WHOLE[kind]})
    assert request.kind == kind and parse(json.loads(request.model_dump_json())) == request
    with pytest.raises(UserError, match="is no part of this job"):
        parse({"kind": kind, **WHOLE[kind], "sudo": True})


def test_seeds_are_a_number_a_list_or_a_text():
    assert parse({"kind": "generate", "seeds": "0,1,5-7"}).seeds == (0, 1, 5, 6, 7)
    assert parse({"kind": "generate", "seeds": 9}).seeds == (9,) and parse({"kind": "generate"}).seeds == (0,)


@pytest.mark.parametrize("given, said", [
    ([], "an object with a kind"), (None, "an object with a kind"), ({}, "no job of the kind 'None'"),
    ({"kind": "generat"}, "did you mean 'generate'"), ({"kind": ["generate"]}, "no job of the kind"),
    ({"kind": "generate", "seeds": [-1]}, "seeds.0: it has to be at least 0 (given: -1)"),
    ({"kind": "generate", "seeds": [2**32]}, "seeds.0"), ({"kind": "generate", "seeds": "1-x"}, "neither a number"),
    ({"kind": "generate", "seeds": "0-64"}, "65 seeds are too many"), ({"kind": "generate", "seeds": []}, "seeds"),
    ({"kind": "generate", "seeds": "1" * 500}, "at most 400"), ({"kind": "generate", "seeds": [1.5]}, "seeds.0"),
    ({"kind": "generate", "truncation": float("nan")}, "truncation"), ({"kind": "generate", "strength": 9}, "strength"),
    ({"kind": "generate", "styles": ["a", "a"]}, "named twice"),
    ({"kind": "generate", "styles": [str(n) for n in range(12)], "seeds": "0-30"}, "403 pictures at once"),
    ({"kind": "edit"}, "target: it is missing"), ({"kind": "edit", "target": "x" * 300}, "target"),
    ({"kind": "align", "upload": "a", "eyes": [[1, 2], [3, 4]]}, "eyes and mouth belong together"),
    ({"kind": "learn", "words": "x", "name": "../up"}, "would not stay"),
    ({"kind": "learn", "words": "x", "name": "a\0b"}, "control character"),
    ({"kind": "learn-pictures", "name": "x", "uploads": ["a"]}, "uploads: at least 3 are needed (given: ['a'])"),
    ({"kind": "learn", "words": "", "name": "x"}, "words: it is empty"),
])
def test_mistakes_are_told_in_one_short_line(given, said):
    with pytest.raises(UserError) as caught:
        parse(given)
    text = str(caught.value)
    assert said in text and "\n" not in text and len(text) < 300

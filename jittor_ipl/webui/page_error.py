"""Mistakes that this room itself tells: keys of words.json, in English for programs, in its language on the page."""
from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from jittor_ipl.errors import UserError, closest
from jittor_ipl.webui.pages.words import Phrase, Words


class PageError(UserError):
    """A mistake told by a key of words.json, "error.<name>", and its fields, which may be phrases; str() is English."""

    def __init__(self, key: str, **fields: Any):
        super().__init__(Words("en")(key, **fields))
        self.key, self.fields = key, fields

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel from a worker as key and fields."""
        return partial(type(self), self.key, **self.fields), ()


def phrase_of(error: UserError) -> Phrase:
    """Return a mistake as a phrase: those of other rooms say in the page's language that their reason is English."""
    if isinstance(error, PageError):
        return Phrase(error.key, error.fields)
    return Phrase("error.in_english", {"text": str(error)})


def near(name: str, choices: Iterable[str]) -> Phrase | str:
    """Return the question whether the closest of some choices was meant, "" where none is close."""
    found = closest(name, choices)
    return "" if found is None else Phrase("error.near", {"name": found})

"""The page's words in English and Chinese. All stand in words.json, side by side; a test holds that none is missing."""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

LANGUAGES = {"en": "English", "zh": "中文"}     # by the names that the switch shows, in the order of words.json
HTML_LANGUAGE = {"en": "en", "zh": "zh-CN"}


@cache
def words_table() -> dict[str, list[str]]:
    """Return key -> [English, Chinese]; {fields} in them are filled in by `Words`."""
    return json.loads((Path(__file__).parent / "words.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Phrase:
    """A text in no language yet: a key of the table with its fields, among which there may be other phrases."""

    key: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Words:
    """The page's words in one language: `words("studio.title")`, `words("place.before", place=3)`."""

    language: str

    def __call__(self, key: str, **fields: Any) -> str:
        """Return the text of a key with its fields filled in; KeyError for a key that is not in the table."""
        told = {name: self.phrase(value) if isinstance(value, Phrase) else value for name, value in fields.items()}
        return words_table()[key][list(LANGUAGES).index(self.language)].format(**told)

    def phrase(self, phrase: Phrase) -> str:
        """Return the text of a phrase."""
        return self(phrase.key, **phrase.fields)

    def __contains__(self, key: str) -> bool:
        """Whether the table has a key."""
        return key in words_table()

    def or_else(self, prefix: str, name: str) -> str:
        """Return the text of `<prefix>.<name>`, or the name itself where the table has none: a style, a new subject."""
        return self(f"{prefix}.{name}") if f"{prefix}.{name}" in self else name

    @property
    def others(self) -> list[str]:
        """The languages beside this one."""
        return [language for language in LANGUAGES if language != self.language]


def preferred(accepted: str, default: str) -> str:
    """Return the language of the page for a browser's Accept-Language: the first of ours that it names.

    A browser that names none of ours gets `default`; quality values are taken as an order, as browsers send them.
    """
    for part in accepted[:1000].split(","):
        language = part.split(";")[0].strip().lower().split("-")[0]
        if language in LANGUAGES:
            return language
    return default

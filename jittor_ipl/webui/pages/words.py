"""The page's words in English and Chinese. All stand in words.json, side by side; a test holds that none is missing."""
from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from string import Formatter
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

    def to_json(self) -> dict[str, Any]:
        """Return its key and fields, those of phrases among them in the same way."""
        return {"key": self.key, "fields": {name: value.to_json() if isinstance(value, Phrase) else value
                                            for name, value in self.fields.items()}}

    @staticmethod
    def from_json(given: Mapping[str, Any]) -> Phrase:
        """Return the phrase of which `to_json` returned this."""
        return Phrase(given["key"], {name: Phrase.from_json(value) if isinstance(value, Mapping) else value
                                     for name, value in given["fields"].items()})


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

    def translated(self, prefix: str, text: str) -> str:
        """Return an English text of another room in this language: that of the key `<prefix>.…` whose English it is.

        A text that no such key has comes back as it is.
        """
        for key, (english, *_) in words_table().items():
            if key.startswith(f"{prefix}.") and (found := re.fullmatch(_pattern(english), text)):
                return self(key, **found.groupdict())
        return text

    @property
    def others(self) -> list[str]:
        """The languages beside this one."""
        return [language for language in LANGUAGES if language != self.language]


def _pattern(text: str) -> str:
    """Return the regular expression of a text of the table: a group for each field."""
    parts = Formatter().parse(text)
    return "".join(re.escape(part) + (f"(?P<{name}>.+)" if name else "") for part, name, _, _ in parts)


def plural(subject: str) -> Phrase | str:
    """Return what several pictures of a subject are called within a text; its id where the table has no word for it."""
    key = f"subject.{subject}.plural"
    return Phrase(key) if key in words_table() else subject


def preferred(accepted: str, default: str) -> str:
    """Return the language of the page for a browser's Accept-Language: the first of ours that it names.

    A browser that names none of ours gets `default`; quality values are taken as an order, as browsers send them.
    """
    for part in accepted[:1000].split(","):
        language = part.split(";")[0].strip().lower().split("-")[0]
        if language in LANGUAGES:
            return language
    return default

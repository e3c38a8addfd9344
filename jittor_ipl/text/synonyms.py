"""Words of PaddleGAN's page that the demo world's captions never say, and what these say in their place.

A small CLIP has embeddings for the words of its captions alone; to it any other word is silence. Only such words are
looked up here: a CLIP that knows a word reads it as it stands.
"""
from __future__ import annotations

import re
from collections.abc import Callable
from types import MappingProxyType

SYNONYMS = MappingProxyType({"gold": "blond", "golden": "blond", "curl": "curly", "curled": "curly"})
_WORD = re.compile(r"[^\W\d_]+")


def understood(text: str, knows: Callable[[str], bool]) -> tuple[str, dict[str, str]]:
    """Return a text in words that its reader `knows`, as far as SYNONYMS go, and {word: what stands in its place}."""
    changed: dict[str, str] = {}

    def known(match: re.Match) -> str:
        word = match[0].lower()
        other = SYNONYMS.get(word)
        if other is None or knows(word) or not knows(other):
            return match[0]
        return changed.setdefault(word, other)
    return _WORD.sub(known, text), changed

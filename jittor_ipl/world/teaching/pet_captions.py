"""Captions of rendered pets; see `captions`."""
from __future__ import annotations

from jittor_ipl.world.drawing.pet_looks import STYLES
from jittor_ipl.world.teaching.captions import Language, Pick, Wordings

_WORDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "species": (("cat", "kitten"), ("dog", "puppy")),
    "coat": (("black",), ("brown",), ("orange", "ginger"), ("grey", "gray"), ("white",)),
    "pattern": (("plain",), ("patched", "spotted"), ("striped",)),
    "ears": (("with pricked ears", "with pointed ears"), ("with folded ears", "with floppy ears")),
    "mouth": (("with a closed mouth", "with its mouth closed"), ("with an open mouth", "with its tongue out")),
    "eyes": (("with yellow eyes",), ("with green eyes",), ("with blue eyes",)),
    "collar": (("without a collar", "with no collar"), ("with a collar", "with a red collar", "wearing a collar")),
    "background": tuple((f"on a {colour} background",) for colour in ("blue", "green", "pink", "yellow")),
}


def _phrase(style: str, said: Wordings, nouns: tuple[str, ...], pick: Pick, shuffle) -> str:
    """Style, pattern, coat, species, then "with ..." parts in shuffled order."""
    after = [said[name] for name in ("ears", "mouth", "eyes", "collar", "background") if name in said]
    shuffle(after)
    noun = said.get("species") or pick(nouns)
    return " ".join(filter(None, (style, said.get("pattern"), said.get("coat"), noun, " and ".join(after))))


PET = Language(STYLES, _WORDS, weights=(1, 1, 1.2, 1, 1.3, 1.2, 1, .7), nouns=("pet", "animal"), phrase=_phrase,
               joints=("and",))

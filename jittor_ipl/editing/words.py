"""From words to a direction in CLIP's space: what a target says that the neutral words do not."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.clip.texts import template_features
from jittor_ipl.text.synonyms import understood
from jittor_ipl.text.tokenizer import shorten, tokenizer

# Words that carry no meaning of their own: a target of nothing else is none.
STOP_WORDS = frozenset(
    "a an the this that these those of in on at by to for from with and or but is are was were be been being as it its "
    "has have had who which i you he she we they my your his her our their me him them some any very so too just"
    .split())
# Below this length of the difference of two unit vectors CLIP does not tell the texts apart (rounding is near 1e-6).
_LEAST = 1e-4


def text_direction(clips: Sequence[Clip], neutral: str, target: str) -> np.ndarray:
    """Return the unit vector [d] from the neutral words to the target's, in 79 templates each (Patashnik et al. 2021).

    Several CLIPs stand side by side: d is the sum of their widths, and each has the same share of the length. Raises
    UserError for texts of nothing but stop words, and where a CLIP finds no difference: a zero direction edits nothing.
    """
    for text in (neutral, target):
        if not telling_words(text):
            raise UserError(f"the text {shorten(text)} has no word with a meaning of its own; say what is to be seen, "
                            'such as --neutral face --target "happy face"')
    before, after = (tokenizer().split(text) for text in (neutral, target))
    if before == after:
        raise UserError(f"neutral and target both are {shorten(target)}: say what the target has that the neutral text "
                        "has not")
    differ = [word for word in after if word not in before] or after
    if all(set(differ) <= set(unknown_words(clip, target)) for clip in clips):
        raise UserError(f"the CLIP has never seen {', '.join(map(repr, differ))}, which is all that {shorten(target)} "
                        f"has and {shorten(neutral)} has not: use other words, or another CLIP with --clip")
    parts = [_difference(clip, neutral, target) for clip in clips]
    return (np.concatenate(parts) / np.sqrt(len(parts))).astype(np.float32)


def _difference(clip: Clip, neutral: str, target: str) -> np.ndarray:
    before, after = (_class_feature(clip, text) for text in (neutral, target))
    difference = after - before
    length = np.linalg.norm(difference)
    if not length > _LEAST:
        raise UserError(f"the CLIP sees no difference between {shorten(neutral)} and {shorten(target)}: use other "
                        "words, or another CLIP with --clip")
    return difference / length


def _class_feature(clip: Clip, text: str) -> np.ndarray:
    """Return the unit mean [d] of a text's unit features in the templates, in float64."""
    mean = template_features(clip, as_read(clip, text)).numpy().astype(np.float64).mean(0)
    return mean / np.linalg.norm(mean)


# ---- What a CLIP knows -------------------------------------------------------------------------------------------

def telling_words(text: str) -> list[str]:
    """Return the words of a text, in lower case, that have a meaning of their own."""
    return [word for word in tokenizer().split(text) if any(map(str.isalnum, word)) and word not in STOP_WORDS]


def as_read(clip: Clip, text: str) -> str:
    """Return a text in the words of a compact CLIP, as far as `text.synonyms` has them; a full one's as it is."""
    return _read(clip, text)[0]


def unknown_words(clip: Clip, text: str) -> list[str]:
    """Return the words of a text, in lower case, that a compact CLIP has neither an embedding nor a synonym for."""
    return [word for word in dict.fromkeys(tokenizer().split(text))
            if any(map(str.isalnum, word)) and not _knows(clip, as_read(clip, word))]


def remarks(clips: Sequence[Clip], texts: Sequence[str]) -> list[str]:
    """Return what the author of some texts should be told: words that a CLIP reads as others, or never saw."""
    found = [f"the CLIP knows {word!r} as {other!r}" for word, other in synonyms_read(clips, texts).items()]
    found += [f"the CLIP has never seen {word!r}: it says nothing to it"
              for clip in clips for text in texts for word in unknown_words(clip, text)]
    return list(dict.fromkeys(found))


def synonyms_read(clips: Sequence[Clip], texts: Sequence[str]) -> dict[str, str]:
    """Return {word: what it is read as} of the words in some texts that one of the CLIPs reads as others."""
    return {word: other for clip in clips for text in texts for word, other in _read(clip, text)[1].items()}


def _read(clip: Clip, text: str) -> tuple[str, dict[str, str]]:
    return understood(text, lambda word: _knows(clip, word))


def _knows(clip: Clip, word: str) -> bool:
    """Tell whether a CLIP has an embedding for every token of a word; a full one has."""
    return clip.known_tokens is None or bool(np.isin(tokenizer().encode(word), clip.known_tokens).all())

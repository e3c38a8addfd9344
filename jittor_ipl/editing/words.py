"""From words to a direction in CLIP's space: what a target says that the neutral words do not."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.clip.texts import template_features
from jittor_ipl.text.tokenizer import shorten, tokenizer

# Words that carry no meaning of their own: a target of nothing else is none.
STOP_WORDS = frozenset(
    "a an the this that these those of in on at by to for from with and or but is are was were be been being as it its "
    "i you he she we they my your his her our their me him them some any very so too just".split())
# Below this length of the difference of two unit vectors CLIP does not tell the texts apart (rounding is near 1e-6).
_LEAST = 1e-4


def text_direction(clips: Sequence[Clip], neutral: str, target: str) -> np.ndarray:
    """Return the unit vector [d] from the neutral words to the target's, in 79 templates each (Patashnik et al. 2021).

    Several CLIPs stand side by side: d is the sum of their widths, and each has the same share of the length. Raises
    UserError for texts of nothing but stop words, and where a CLIP finds no difference: a zero direction edits nothing.
    """
    for text in (neutral, target):
        if not set(tokenizer().split(text)) - STOP_WORDS or not any(map(str.isalnum, text)):
            raise UserError(f"the text {shorten(text)} has no word with a meaning of its own; say what is to be seen, "
                            'such as --neutral face --target "happy face"')
    if tokenizer().split(neutral) == tokenizer().split(target):
        raise UserError(f"neutral and target both are {shorten(target)}: say what the target has that the neutral text "
                        "has not")
    differ = [word for word in target.split() if word not in neutral.split()] or target.split()
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
    mean = template_features(clip, text).numpy().astype(np.float64).mean(0)
    return mean / np.linalg.norm(mean)


def unknown_words(clip: Clip, text: str) -> list[str]:
    """Return the words of a text that a compact CLIP has no embedding for; none of a full one."""
    if clip.known_tokens is None:
        return []
    known = clip.known_tokens
    return [word for word in dict.fromkeys(text.split()) if not np.isin(tokenizer().encode(word), known).all()]

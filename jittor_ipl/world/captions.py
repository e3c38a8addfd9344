"""Captions of rendered portraits, and which picture each caption is true of.

A caption is a predicate: a row of 11 integers (style, then the attributes in order), -1 where it says nothing. Knowing it
makes the contrastive targets exact: a caption belongs to every picture of the batch that it is true of.
"""
from __future__ import annotations

import numpy as np

from ..text import TEMPLATES
from .attributes import ATTRIBUTES
from .looks import STYLES

# Several wordings per value; the first is the plainest. None: the value is not spoken of.
_WORDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "skin": (("pale skin", "light skin", "white skin"), ("tan skin", "tanned skin"), ("brown skin",), ("dark skin", "black skin")),
    "hair": (("black",), ("brown",), ("blond", "blonde", "yellow"), ("red", "orange"), ("grey", "gray", "white")),
    "length": (("short",), ("long",)),
    "curl": (("straight",), ("curly", "wavy")),
    "expression": (("neutral", "calm", "serious"), ("happy", "smiling", "laughing"), ("angry", "frowning", "furious")),
    "gender": (("boy", "man", "male"), ("girl", "woman", "female")),
    "glasses": (("without glasses", "with no glasses"), ("with glasses", "wearing glasses", "with eyeglasses")),
    "beard": (("without a beard", "with no beard", "clean shaven"), ("with a beard", "with beard", "bearded")),
    "pose": (("looking left", "turned left"), ("looking ahead", "facing forward", "from the front"),
             ("looking right", "turned right")),
    "background": (("blue",), ("green",), ("pink",), ("grey", "gray")),
}
_NOUNS = ("face", "person", "portrait", "head")
_NAMES = tuple(ATTRIBUTES)
# The prefixes IPL starts from, and plain ones; a "{}" takes the noun phrase.
_FRAMES = ("a photo of a {}.", "a {}.", "{}", "the {}.", "a picture of a {}.", "an image of a {}.")


def draw(rng: np.random.Generator, style: np.ndarray, labels: np.ndarray) -> tuple[list[str], np.ndarray]:
    """One caption for each picture (styles [B], labels [B, 10]) and its predicate [B, 11].

    Three in ten name the style alone, three the attributes alone, the rest both, always within a template.
    """
    texts, predicates = [], np.full((len(style), 1 + len(_NAMES)), -1, np.int64)
    for i in range(len(style)):
        kind = rng.random()
        if kind < .7:
            predicates[i, 0] = style[i]
        if kind >= .3:
            count = int(rng.choice((1, 2, 3, 4), p=(.35, .3, .2, .15)))
            # Expression, curl, glasses and beard are small on a face: they are spoken of more often to be heard.
            weight = np.array([.8, 1, 1, 1.3, 1.8, 1, 1.3, 1.3, .8, .7])
            chosen = rng.choice(len(_NAMES), count, replace=False, p=weight / weight.sum())
            predicates[i, 1 + chosen] = labels[i, chosen]
        texts.append(_compose(rng, predicates[i]))
    return texts, predicates


def matches(predicates: np.ndarray, style: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Truth table [pictures, captions] of predicates [N, 11] over pictures (styles [B], labels [B, 10])."""
    truth = np.concatenate([style[:, None], labels], axis=1)
    return ((predicates[None] == -1) | (predicates[None] == truth[:, None])).all(axis=2)


def vocabulary_texts() -> list[str]:
    """Texts that together contain every word a caption can contain; their token ids are what a demo CLIP knows."""
    words = {phrase for values in _WORDS.values() for phrases in values for phrase in phrases}
    words |= {f"{name} {kind}" for name in ("hair", "background") for kind in ("and", "on a", "with", "in the style of a")}
    texts = [*TEMPLATES, *_FRAMES, *STYLES, *_NOUNS, *words, "X", "a photo of a", "style"]
    return [text.format("face") if "{}" in text else text for text in texts]


def plain(predicate: np.ndarray) -> str:
    """The plainest noun phrase for a predicate [11], without a template."""
    return _phrase(predicate, lambda choices: choices[0])


def _compose(rng: np.random.Generator, predicate: np.ndarray) -> str:
    """Say one predicate in random words within a random template."""
    frame = str(rng.choice(TEMPLATES) if rng.random() < .75 else rng.choice(_FRAMES))
    return frame.format(_phrase(predicate, lambda choices: str(rng.choice(choices)), rng.shuffle))


def _phrase(predicate: np.ndarray, pick, shuffle=lambda parts: None) -> str:
    """Style, expression, noun, then "with ..." parts in shuffled order; only what the predicate says."""
    said = {name: pick(_WORDS[name][value]) for name, value in zip(_NAMES, predicate[1:]) if value >= 0}
    style = STYLES[predicate[0]] if predicate[0] >= 0 else ""
    if not said:
        return style
    hair = " ".join(said[name] for name in ("length", "curl", "hair") if name in said)
    after = [f"with {hair} hair"] if hair else []
    after += [said[name] for name in ("glasses", "beard", "pose") if name in said]
    if "skin" in said:
        after.append(f"with {said['skin']}")
    if "background" in said:
        after.append(f"on a {said['background']} background")
    shuffle(after)
    noun = said.get("gender") or pick(_NOUNS)
    return " ".join(filter(None, (style, said.get("expression"), noun, " and ".join(after))))

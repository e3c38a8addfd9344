"""Captions of rendered pictures, and which picture each caption is true of.

A caption is a predicate: a row of integers (style, then the attributes in order), -1 where it says nothing. Knowing it
makes the contrastive targets exact: a caption belongs to every picture of the batch that it is true of.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jittor_ipl.text.templates import TEMPLATES
from jittor_ipl.world.drawing import looks

Pick = Callable[[tuple[str, ...]], str]         # chooses one of several wordings
# The prefixes IPL starts from, and plain ones; a "{}" takes the noun phrase.
_FRAMES = ("a photo of a {}.", "a {}.", "{}", "the {}.", "a picture of a {}.", "an image of a {}.")


@dataclass(frozen=True)
class Language:
    """How one subject is spoken of.

    styles     names of the styles
    words      several wordings for each value of each attribute, the plainest first
    weights    how often an attribute is spoken of: what is small in the picture more often, to be learnt
    nouns      names of the subject
    phrase     (style's name or "", said, nouns, pick, shuffle) -> noun phrase
    joints     the words that `phrase` puts between, for the vocabulary
    """

    styles: tuple[str, ...]
    words: dict[str, tuple[tuple[str, ...], ...]]
    weights: tuple[float, ...]
    nouns: tuple[str, ...]
    phrase: Callable[..., str]
    joints: tuple[str, ...]

    def draw(self, rng: np.random.Generator, style: np.ndarray, labels: np.ndarray) -> tuple[list[str], np.ndarray]:
        """One caption for each picture (styles [B], labels [B, attributes]) and its predicate [B, 1 + attributes].

        Three in ten name the style alone, three the attributes alone, the rest both, always within a template.
        """
        texts, predicates = [], np.full((len(style), 1 + len(self.words)), -1, np.int64)
        for i in range(len(style)):
            kind = rng.random()
            if kind < .7:
                predicates[i, 0] = style[i]
            if kind >= .3:
                count = int(rng.choice((1, 2, 3, 4), p=(.35, .3, .2, .15)))
                weight = np.array(self.weights)
                chosen = rng.choice(len(self.words), count, replace=False, p=weight / weight.sum())
                predicates[i, 1 + chosen] = labels[i, chosen]
            frame = str(rng.choice(TEMPLATES) if rng.random() < .75 else rng.choice(_FRAMES))
            said = self.noun_phrase(predicates[i], lambda choices: str(rng.choice(choices)), rng.shuffle)
            texts.append(frame.format(said))
        return texts, predicates

    def noun_phrase(self, predicate: np.ndarray, pick: Pick = lambda choices: choices[0],
                    shuffle=lambda parts: None) -> str:
        """What says a predicate [1 + attributes] and nothing more, without a template; in the plainest words."""
        said = {name: pick(self.words[name][value]) for name, value in zip(self.words, predicate[1:]) if value >= 0}
        style = self.styles[predicate[0]] if predicate[0] >= 0 else ""
        return self.phrase(style, said, self.nouns, pick, shuffle) if said else style

    def vocabulary_texts(self) -> list[str]:
        """Texts that together contain every word a caption can contain; their token ids are what a demo CLIP knows."""
        words = {phrase for values in self.words.values() for phrases in values for phrase in phrases}
        texts = [*TEMPLATES, *_FRAMES, *self.styles, *self.nouns, *words, *self.joints, "X", "a photo of a", "style"]
        return [text.format("face") if "{}" in text else text for text in texts]


def matches(predicates: np.ndarray, style: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Truth table [B, N] of predicates [N, 1 + attributes] over pictures (styles [B], labels [B, attributes])."""
    truth = np.concatenate([style[:, None], labels], axis=1)
    return ((predicates[None] == -1) | (predicates[None] == truth[:, None])).all(axis=2)


def _portrait_phrase(style: str, said: dict[str, str], nouns: tuple[str, ...], pick: Pick, shuffle) -> str:
    """Style, expression, noun, then "with ..." parts in shuffled order."""
    hair = " ".join(said[name] for name in ("length", "curl", "hair") if name in said)
    after = [f"with {hair} hair"] if hair else []
    after += [said[name] for name in ("glasses", "beard", "pose") if name in said]
    if "skin" in said:
        after.append(f"with {said['skin']}")
    if "background" in said:
        after.append(f"on a {said['background']} background")
    shuffle(after)
    noun = said.get("gender") or pick(nouns)
    return " ".join(filter(None, (style, said.get("expression"), noun, " and ".join(after))))


def _pet_phrase(style: str, said: dict[str, str], nouns: tuple[str, ...], pick: Pick, shuffle) -> str:
    """Style, pattern, coat, species, then "with ..." parts in shuffled order."""
    after = [said[name] for name in ("ears", "mouth", "eyes", "collar", "background") if name in said]
    shuffle(after)
    noun = said.get("species") or pick(nouns)
    return " ".join(filter(None, (style, said.get("pattern"), said.get("coat"), noun, " and ".join(after))))


PORTRAIT = Language(tuple(looks.PORTRAIT), {
    "skin": (("pale skin", "light skin", "white skin"), ("tan skin", "tanned skin"), ("brown skin",),
             ("dark skin", "black skin")),
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
}, weights=(.8, 1, 1, 1.3, 1.8, 1, 1.3, 1.3, .8, .7), nouns=("face", "person", "portrait", "head"),
   phrase=_portrait_phrase, joints=("hair", "background", "and", "on a", "with", "in the style of a"))
PET = Language(tuple(looks.PET), {
    "species": (("cat", "kitten"), ("dog", "puppy")),
    "coat": (("black",), ("brown",), ("orange", "ginger"), ("grey", "gray"), ("white",)),
    "pattern": (("plain",), ("patched", "spotted"), ("striped",)),
    "ears": (("with pricked ears", "with pointed ears"), ("with folded ears", "with floppy ears")),
    "mouth": (("with a closed mouth", "with its mouth closed"), ("with an open mouth", "with its tongue out")),
    "eyes": (("with yellow eyes",), ("with green eyes",), ("with blue eyes",)),
    "collar": (("without a collar", "with no collar"), ("with a collar", "with a red collar", "wearing a collar")),
    "background": tuple((f"on a {colour} background",) for colour in ("blue", "green", "pink", "yellow")),
}, weights=(1, 1, 1.2, 1, 1.3, 1.2, 1, .7), nouns=("pet", "animal"), phrase=_pet_phrase, joints=("and",))

"""Portraits and pets in one batch, under one truth, so that one CLIP can learn both.

A joint label is [the style in the first language's styles, attributes of the first subject, of the second, ...], with
ABSENT where a picture's subject has no such attribute: a caption that speaks of it is not true of that picture, and a
caption that names a style alone is true of both subjects.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jittor_ipl.world.teaching.captions import Language
from jittor_ipl.world.teaching.pool import Pool

ABSENT = -2


@dataclass(frozen=True)
class MixturePart:
    """One subject of a mixture: its pictures, how it is spoken of, and its share of a batch."""

    pool: Pool
    language: Language
    share: float


class Mixture:
    """Draws pictures, joint labels [B, 1 + all attributes] and captions of several subjects."""

    def __init__(self, parts: list[MixturePart]) -> None:
        self.parts, self.styles = parts, parts[0].language.styles
        ends = np.cumsum([1, *(len(part.language.words) for part in parts)])
        self.columns = [slice(int(a), int(b)) for a, b in zip(ends, ends[1:])]
        self.width = int(ends[-1])
        self._style = [np.array([self.styles.index(name) for name in part.language.styles]) for part in parts]

    def draw(self, random: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """`count` random pictures and the same faces in the source style, as `Pool.draw`; labels are joint.

        The parts stand one after the other, each with its share, the last with the rest.
        """
        drawn = [part.pool.draw(random, number) for part, number in zip(self.parts, self._counts(count))]
        images, photos = (np.concatenate([part[column] for part in drawn]) for column in (0, 1))
        joint = np.concatenate([self._widen(index, self._style[index][styles], labels, ABSENT)
                                for index, (_, _, styles, labels) in enumerate(drawn)])
        return images, photos, joint[:, 0], joint[:, 1:]

    def without_attributes(self, labels: np.ndarray, rows: np.ndarray,
                           names: tuple[tuple[str, ...], ...]) -> np.ndarray:
        """Labels [B, all attributes] that say nothing in `rows` of the attributes `names` (one tuple a part)."""
        columns = [part_columns.start - 1 + list(part.language.words).index(name)
                   for part, part_columns, chosen in zip(self.parts, self.columns, names) for name in chosen]
        labels = labels.copy()
        labels[np.ix_(rows, columns)] = ABSENT
        return labels

    def captions(self, random: np.random.Generator, styles: np.ndarray,
                 labels: np.ndarray) -> tuple[list[str], np.ndarray]:
        """One caption for each picture of `draw`, and its joint predicate [B, 1 + all attributes], -1 where silent."""
        texts, predicates, start = [], [], 0
        for index, (part, number) in enumerate(zip(self.parts, self._counts(len(styles)))):
            rows = slice(start, start + number)
            own_style = np.argmax(self._style[index][None] == styles[rows, None], axis=1)
            columns = slice(self.columns[index].start - 1, self.columns[index].stop - 1)
            said, predicate = part.language.draw(random, own_style, labels[rows, columns])
            named = np.where(predicate[:, 0] >= 0, self._style[index][predicate[:, 0]], -1)
            predicates.append(self._widen(index, named, predicate[:, 1:], -1))
            texts += said
            start += number
        return texts, np.concatenate(predicates)

    def _counts(self, count: int) -> list[int]:
        counts = [int(round(part.share * count)) for part in self.parts[:-1]]
        return [*counts, count - sum(counts)]

    def _widen(self, index: int, styles: np.ndarray, labels: np.ndarray, filler: int) -> np.ndarray:
        wide = np.full((len(styles), self.width), filler, np.int64)
        wide[:, 0], wide[:, self.columns[index]] = styles, labels
        return wide

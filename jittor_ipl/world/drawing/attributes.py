"""What a picture of the demo world can show: labelled attributes, drawn at random or fixed by a latent z.

A face is a dictionary of NumPy arrays of one length B: integer labels for every attribute of a `Table` and, for natural
variation, continuous jitter in [-1, 1] that carries no label.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jittor_ipl.runtime.streams import z_from_seeds

LATENT_DIM = 128  # z and w dimension of the demo generators; the coordinates past the named ones change nothing
Face = dict[str, np.ndarray]


@dataclass(frozen=True)
class Table:
    """The attributes of one subject.

    ends     every attribute's values in order, each with the upper end of its cumulative probability
    jitter   names of the continuous variations
    settle   removes what cannot be together (a girl's beard); face -> face
    """

    ends: dict[str, dict[str, float]]
    jitter: tuple[str, ...]
    settle: Callable[[Face], Face] = dict

    @property
    def values(self) -> dict[str, tuple[str, ...]]:
        """Every attribute's values, in order."""
        return {name: tuple(ends) for name, ends in self.ends.items()}

    def sample(self, rng: np.random.Generator, count: int) -> Face:
        """Draw `count` independent faces: attributes by their cumulative probabilities, jitter in [-1, 1]."""
        u, face = rng.random((count, len(self.ends) + len(self.jitter))), {}
        for column, (name, ends) in enumerate(self.ends.items()):
            face[name] = np.searchsorted(list(ends.values())[:-1], u[:, column], side="right").astype(np.int64)
        for column, name in enumerate(self.jitter, start=len(self.ends)):
            face[name] = (2 * u[:, column] - 1).astype(np.float32)
        return self.settle(face)

    def from_latent(self, z: np.ndarray) -> Face:
        """The face that a latent z [B, LATENT_DIM] stands for.

        Every value of an attribute with three or more has a coordinate of its own and the largest wins; an attribute
        with two values follows the sign of one coordinate; jitter is a coordinate through the normal distribution.
        """
        margins, spread = self._margins(z)
        face = {name: margins[name].argmax(axis=1).astype(np.int64) for name in self.values}
        face |= {name: (2 * _normal_cdf(spread[:, i]) - 1).astype(np.float32) for i, name in enumerate(self.jitter)}
        return self.settle(face)

    def of_seed(self, seed: int) -> dict[str, str]:
        """The named values of the face that a generator draws for a seed."""
        face = self.from_latent(z_from_seeds([seed], LATENT_DIM))
        return {name: values[int(face[name][0])] for name, values in self.values.items()}

    def code(self, z: np.ndarray) -> np.ndarray:
        """What a latent z [B, LATENT_DIM] means, as numbers [B, LATENT_DIM] of about unit scale.

        For every value of every attribute tanh of how clearly it wins (positive for the winner alone), then the jitter,
        then zeros. The demo generators' mapping networks are taught to put this into w.
        """
        margins, spread = self._margins(z)
        packed = np.concatenate([*(np.tanh(4 * margins[name]) for name in self.values), 1.2 * spread], axis=1)
        return np.pad(packed, ((0, 0), (0, LATENT_DIM - packed.shape[1]))).astype(np.float32)

    def labels(self, face: Face) -> np.ndarray:
        """The labels as one integer array [B, attributes] in the order of `values`."""
        return np.stack([face[name] for name in self.values], axis=1)

    def _margins(self, z: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """By attribute, each value's lead over the best other [B, n]; and the jitter's coordinates [B, jitter]."""
        unit = z / np.sqrt(np.mean(np.square(z, dtype=np.float64), axis=1, keepdims=True) + 1e-8)
        at, margins = 0, {}
        for name, values in self.values.items():
            if len(values) == 2:
                margins[name] = unit[:, at:at + 1] * np.array([-1.0, 1.0])
                at += 1
                continue
            part = unit[:, at:at + len(values)]
            others = np.stack([np.delete(part, i, axis=1).max(axis=1) for i in range(len(values))], axis=1)
            margins[name] = part - others
            at += len(values)
        return margins, unit[:, at:at + len(self.jitter)]


PORTRAIT = Table(
    ends={
        "skin": {"pale": .3, "tan": .55, "brown": .8, "dark": 1},
        "hair": {"black": .22, "brown": .44, "blond": .64, "red": .82, "grey": 1},
        "length": {"short": .5, "long": 1},
        "curl": {"straight": .5, "curly": 1},
        "expression": {"neutral": .34, "happy": .67, "angry": 1},
        "gender": {"boy": .5, "girl": 1},
        "glasses": {"none": .6, "glasses": 1},
        "beard": {"none": .5, "beard": 1},
        "pose": {"left": .33, "front": .67, "right": 1},
        "background": {"blue": .25, "green": .5, "pink": .75, "grey": 1},
    },
    jitter=("tone", "shade", "width", "jaw", "turn", "light"),
    settle=lambda face: {**face, "beard": np.where(face["gender"] == 1, 0, face["beard"])})
PET = Table(
    ends={
        "species": {"cat": .5, "dog": 1},
        "coat": {"black": .2, "brown": .4, "orange": .6, "grey": .8, "white": 1},
        "pattern": {"plain": .34, "patches": .67, "stripes": 1},
        "ears": {"pricked": .5, "folded": 1},
        "mouth": {"closed": .5, "open": 1},
        "eyes": {"yellow": .34, "green": .67, "blue": 1},
        "collar": {"none": .5, "collar": 1},
        "background": {"blue": .25, "green": .5, "pink": .75, "yellow": 1},
    },
    jitter=("tone", "shade", "width", "turn", "nod", "light"))


def select(face: Face, index: slice | np.ndarray) -> Face:
    """Select faces by a slice or an index array."""
    return {name: values[index] for name, values in face.items()}


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    """Cumulative normal distribution (Abramowitz and Stegun 7.1.26, error below 2e-7), without SciPy."""
    a = np.abs(x) / np.sqrt(2.0)
    t = 1.0 / (1.0 + 0.3275911 * a)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = 1.0 - poly * np.exp(-a * a)
    return 0.5 * (1.0 + np.sign(x) * erf)

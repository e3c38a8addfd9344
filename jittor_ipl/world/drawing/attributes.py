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

    values   every attribute's values, in order
    cuts     upper ends of the cumulative probabilities of an attribute's values
    jitter   names of the continuous variations
    settle   removes what cannot be together (a girl's beard); face -> face
    """

    values: dict[str, tuple[str, ...]]
    cuts: dict[str, tuple[float, ...]]
    jitter: tuple[str, ...]
    settle: Callable[[Face], Face] = dict

    def sample(self, rng: np.random.Generator, count: int) -> Face:
        """Draw `count` independent faces: attributes by their cumulative probabilities, jitter in [-1, 1]."""
        u, face = rng.random((count, len(self.values) + len(self.jitter))), {}
        for column, name in enumerate(self.values):
            face[name] = np.searchsorted(np.asarray(self.cuts[name][:-1]), u[:, column], side="right").astype(np.int64)
        for column, name in enumerate(self.jitter, start=len(self.values)):
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


def _no_bearded_girl(face: Face) -> Face:
    return {**face, "beard": np.where(face["gender"] == 1, 0, face["beard"])}


PORTRAIT = Table(
    values={
        "skin": ("pale", "tan", "brown", "dark"),
        "hair": ("black", "brown", "blond", "red", "grey"),
        "length": ("short", "long"),
        "curl": ("straight", "curly"),
        "expression": ("neutral", "happy", "angry"),
        "gender": ("boy", "girl"),
        "glasses": ("none", "glasses"),
        "beard": ("none", "beard"),
        "pose": ("left", "front", "right"),
        "background": ("blue", "green", "pink", "grey"),
    },
    cuts={
        "skin": (.3, .55, .8, 1), "hair": (.22, .44, .64, .82, 1), "length": (.5, 1), "curl": (.5, 1),
        "expression": (.34, .67, 1), "gender": (.5, 1), "glasses": (.6, 1), "beard": (.5, 1),
        "pose": (.33, .67, 1), "background": (.25, .5, .75, 1),
    },
    jitter=("tone", "shade", "width", "jaw", "turn", "light"), settle=_no_bearded_girl)


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

"""What a portrait of the demo world can be: labelled attributes, how they are drawn at random, and how a latent z fixes them.

A face is a dictionary of NumPy arrays of one length B: integer labels for every name in `ATTRIBUTES` and, for natural
variation, continuous `JITTER` values in [-1, 1] that carry no label.
"""
from __future__ import annotations

import numpy as np

ATTRIBUTES: dict[str, tuple[str, ...]] = {
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
}
JITTER = ("tone", "shade", "width", "jaw", "turn", "light")
# Upper ends of the cumulative probabilities of each label, in the order of ATTRIBUTES.
_CUTS = {
    "skin": (.3, .55, .8, 1), "hair": (.22, .44, .64, .82, 1), "length": (.5, 1), "curl": (.5, 1),
    "expression": (.34, .67, 1), "gender": (.5, 1), "glasses": (.6, 1), "beard": (.5, 1),
    "pose": (.33, .67, 1), "background": (.25, .5, .75, 1),
}
LATENT_DIM = 128  # z and w dimension of the demo generator; the coordinates past the named ones change nothing


def from_uniform(u: np.ndarray) -> dict[str, np.ndarray]:
    """Turn uniform numbers [B, >=16] in [0, 1] into faces; girls have no beard.

    Column i decides the i-th attribute by its cumulative probabilities, the next six are the jitter in [-1, 1].
    """
    face: dict[str, np.ndarray] = {}
    for column, name in enumerate(ATTRIBUTES):
        face[name] = np.searchsorted(np.asarray(_CUTS[name][:-1]), u[:, column], side="right").astype(np.int64)
    for column, name in enumerate(JITTER, start=len(ATTRIBUTES)):
        face[name] = (2 * u[:, column] - 1).astype(np.float32)
    face["beard"] = np.where(face["gender"] == 1, 0, face["beard"])
    return face


def sample(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Draw `count` independent faces."""
    return from_uniform(rng.random((count, len(ATTRIBUTES) + len(JITTER))))


def from_latent(z: np.ndarray) -> dict[str, np.ndarray]:
    """The face that a latent z [B, LATENT_DIM] stands for.

    Every value of an attribute with three or more has a coordinate of its own and the largest wins; an attribute with
    two values follows the sign of one coordinate; jitter is a coordinate through the normal distribution.
    """
    margins, spread = _margins(z)
    face = {name: margins[name].argmax(axis=1).astype(np.int64) for name in ATTRIBUTES}
    face |= {name: (2 * _normal_cdf(spread[:, i]) - 1).astype(np.float32) for i, name in enumerate(JITTER)}
    face["beard"] = np.where(face["gender"] == 1, 0, face["beard"])
    return face


def code(z: np.ndarray) -> np.ndarray:
    """What a latent z [B, LATENT_DIM] means, as numbers [B, LATENT_DIM] of about unit scale.

    For every value of every attribute tanh of how clearly it wins (positive for the winner alone), then the jitter, then
    zeros. The demo generator's mapping network is taught to put this into w.
    """
    margins, spread = _margins(z)
    packed = np.concatenate([*(np.tanh(4 * margins[name]) for name in ATTRIBUTES), 1.2 * spread], axis=1)
    return np.pad(packed, ((0, 0), (0, LATENT_DIM - packed.shape[1]))).astype(np.float32)


def _margins(z: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """By attribute, each value's lead over the best other value [B, n]; and the jitter's coordinates [B, 6]."""
    unit = z / np.sqrt(np.mean(np.square(z, dtype=np.float64), axis=1, keepdims=True) + 1e-8)
    at, margins = 0, {}
    for name, values in ATTRIBUTES.items():
        if len(values) == 2:
            margins[name] = unit[:, at:at + 1] * np.array([-1.0, 1.0])
            at += 1
            continue
        part = unit[:, at:at + len(values)]
        others = np.stack([np.delete(part, i, axis=1).max(axis=1) for i in range(len(values))], axis=1)
        margins[name] = part - others
        at += len(values)
    return margins, unit[:, at:at + len(JITTER)]


def take(face: dict[str, np.ndarray], index) -> dict[str, np.ndarray]:
    """Select faces by a slice or an index array."""
    return {name: values[index] for name, values in face.items()}


def labels(face: dict[str, np.ndarray]) -> np.ndarray:
    """The labels as one integer array [B, 10] in the order of ATTRIBUTES."""
    return np.stack([face[name] for name in ATTRIBUTES], axis=1)


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    """Cumulative normal distribution (Abramowitz and Stegun 7.1.26, error below 2e-7), without SciPy."""
    a = np.abs(x) / np.sqrt(2.0)
    t = 1.0 / (1.0 + 0.3275911 * a)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = 1.0 - poly * np.exp(-a * a)
    return 0.5 * (1.0 + np.sign(x) * erf)

"""Features of a set, computed once: in batches, kept by the SHA-256 of pictures and weights, optionally on disk."""
from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from jittor_ipl.atomic import write_bytes
from jittor_ipl.images import from_uint8

from .image_set import ImageSet

MEMORY = 1 << 30            # bytes of embeddings held at once while all pairs are compared


class Network(Protocol):
    """What computes features.

    name     as reports call it, its way of resizing included
    sha256   of its weights
    demo     whether the demo judge stands in for the network that a metric is defined with
    """

    name: str
    sha256: str
    demo: bool

    def features(self, images: np.ndarray, wanted: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the `wanted` features [B, ...] of float32 pictures [B, 3, H, W] in [-1, 1]."""


@dataclass(frozen=True)
class Extractor:
    """The networks of the metrics.

    inception   features "pooled" [d], "logits" [C], "patch-mean" [c], "patch-covariance" [c, c]; `heads`: how the logits
                divide among classifiers, None for one
    lpips       "embedding" [D]: the squared Euclidean distance of two is their perceptual distance
    identity    "identity" [d] of unit length
    clip        "clip" [e] of unit length, and `text(sentence)` [e]; None when there is none
    """

    inception: Network
    lpips: Network
    identity: Network
    clip: Network | None = None


@dataclass
class FeatureSet:
    """The features of one set of pictures, computed when first asked for.

    batch   pictures handed to a network at once
    cache   folder that keeps features between runs; None for none
    """

    images: ImageSet
    batch: int = 32
    cache: Path | None = None
    _known: dict[tuple[str, str], np.ndarray] = field(default_factory=dict, repr=False)

    def get(self, network: Network, *wanted: str) -> list[np.ndarray]:
        """Return the named features [N, ...] of all pictures, each network run once for all that is missing."""
        for name in wanted:
            self._recall(network, name)
        missing = [name for name in wanted if (network.name, name) not in self._known]
        if missing:
            parts = [network.features(from_uint8(batch), missing) for batch in self.images.batches(self.batch)]
            for name in missing:
                self._keep(network, name, np.concatenate([part[name] for part in parts]))
        return [self._known[network.name, name] for name in wanted]

    def distances(self, network: Network) -> np.ndarray:
        """Return the perceptual distances [N, N] of all pairs: symmetric, zero on the diagonal."""
        name = "distances"
        self._recall(network, name)
        if (network.name, name) not in self._known:
            self._keep(network, name, self._all_pairs(network))
        return self._known[network.name, name]

    def _all_pairs(self, network: Network) -> np.ndarray:
        """Compare block with block, so that the embeddings of two blocks at most are in memory."""
        n = len(self.images)
        one = self._embedding(network, range(1))
        step = int(np.clip(MEMORY // 2 // one.nbytes, 1, n))
        found = np.zeros((n, n), np.float64)
        blocks = [range(start, min(start + step, n)) for start in range(0, n, step)]
        for i, rows in enumerate(blocks):
            a = self._embedding(network, rows)
            for columns in blocks[i:]:
                b = a if columns is rows else self._embedding(network, columns)
                block = squared_distances(a, b)
                found[rows.start:rows.stop, columns.start:columns.stop] = block
                found[columns.start:columns.stop, rows.start:rows.stop] = block.T
        np.fill_diagonal(found, 0)
        return found

    def _embedding(self, network: Network, rows: range) -> np.ndarray:
        parts = [network.features(from_uint8(self.images.pixels(rows[i:i + self.batch])), ["embedding"])["embedding"]
                 for i in range(0, len(rows), self.batch)]
        return np.concatenate(parts)

    def _keep(self, network: Network, name: str, value: np.ndarray) -> None:
        self._known[network.name, name] = value
        if self.cache is not None:
            buffer = io.BytesIO()
            np.savez(buffer, value=value, about=self._about(network, name))
            write_bytes(self._file(network, name), buffer.getvalue())

    def _recall(self, network: Network, name: str) -> None:
        """Take a feature from the cache; a damaged or foreign file there is as good as none."""
        if (network.name, name) in self._known or self.cache is None:
            return
        try:
            with np.load(self._file(network, name), allow_pickle=False) as stored:
                if str(stored["about"]) == self._about(network, name) and len(stored["value"]) == len(self.images):
                    self._known[network.name, name] = stored["value"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return

    def _about(self, network: Network, name: str) -> str:
        return json.dumps([self.images.sha256, network.name, network.sha256, name])

    def _file(self, network: Network, name: str) -> Path:
        digest = hashlib.sha256(self._about(network, name).encode()).hexdigest()
        return Path(self.cache) / f"{name}-{digest[:32]}.npz"


def pair_distances(a: FeatureSet, b: FeatureSet, network: Network) -> np.ndarray:
    """Return the perceptual distance [N] of each picture of `a` and its partner in `b`."""
    found = []
    for x, y in zip(a.images.batches(a.batch), b.images.batches(a.batch)):
        x, y = (network.features(from_uint8(part), ["embedding"])["embedding"] for part in (x, y))
        found.append(((x - y)**2).sum(axis=1, dtype=np.float64))
    return np.concatenate(found)


def cross_distances(a: FeatureSet, b: FeatureSet, network: Network) -> np.ndarray:
    """Return the perceptual distances [N, M] of every picture of `a` to every one of `b`, which should be the smaller set."""
    every = b._embedding(network, range(len(b.images)))
    return np.concatenate([squared_distances(a._embedding(network, range(i, min(i + a.batch, len(a.images)))), every)
                           for i in range(0, len(a.images), a.batch)])


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the squared Euclidean distances [n, m] of rows [n, D] and [m, D], float64, never below 0."""
    # Moved to a common centre first: the subtraction of large equal parts would cost digits.
    centre = a.mean(axis=0, dtype=np.float64).astype(a.dtype)
    a, b = a - centre, b - centre
    squares = (np.einsum("nd,nd->n", x, x, dtype=np.float64) for x in (a, b))
    first, second = squares
    return np.maximum(first[:, None] + second[None] - 2 * (a @ b.T).astype(np.float64), 0)

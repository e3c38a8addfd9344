"""Features of a set, computed once: in batches, kept by the SHA-256 of pictures and weights, optionally on disk."""
from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from jittor_ipl.disk.atomic import write_bytes
from jittor_ipl.images.pixels import from_uint8
from jittor_ipl.metrics.image_set import ImageSet

# Bytes of embeddings in memory while pictures are compared: two blocks of half of it; a set whose embeddings fill no
# more than one block keeps them as long as it lives.
MEMORY = 1 << 30


class FeatureNetwork(Protocol):
    """What computes features."""

    name: str       # as reports call it, its way of resizing included
    sha256: str     # of its weights
    demo: bool      # whether the demo judge stands in for the network that a metric is defined with

    def features(self, images: np.ndarray, wanted: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the `wanted` features [B, ...] of float32 pictures [B, 3, H, W] in [-1, 1]."""


@dataclass(frozen=True)
class Extractor:
    """The networks of the metrics.

    inception   features "pooled" [d], "logits" [C], "patch-mean" [c], "patch-covariance" [c, c]; `heads`: how the
                logits divide among classifiers, None for one
    lpips       "embedding" [D]: the squared Euclidean distance of two is their perceptual distance
    identity    "identity" [d] of unit length
    clip        "clip" [e] of unit length, and `text(sentence)` [e]; None when there is none
    """

    inception: FeatureNetwork
    lpips: FeatureNetwork
    identity: FeatureNetwork
    clip: FeatureNetwork | None = None


@dataclass
class FeatureSet:
    """The features of one set of pictures, computed when first asked for."""

    images: ImageSet
    batch: int = 32                 # pictures handed to a network at once
    cache: Path | None = None       # folder that keeps features between runs; None for none
    _known: dict[tuple[str, ...], np.ndarray] = field(default_factory=dict, repr=False)

    def first(self, count: int) -> "FeatureSet":
        """Return the first `count` pictures as a set of their own; this one when it has no more."""
        return self if count >= len(self.images) else replace(self, images=self.images.select(range(count)), _known={})

    def get(self, network: FeatureNetwork, *wanted: str) -> list[np.ndarray]:
        """Return the named features [N, ...] of all pictures, each network run once for all that is missing."""
        missing = [name for name in wanted if not self._recall(network, name)]
        if missing:
            parts = [network.features(from_uint8(batch), missing) for batch in self.images.batches(self.batch)]
            for name in missing:
                self._keep(network, name, np.concatenate([part[name] for part in parts]))
        return [self._known[_key(network, name)] for name in wanted]

    def distances(self, network: FeatureNetwork) -> np.ndarray:
        """Return the perceptual distances [N, N] of all pairs: symmetric, zero on the diagonal."""
        def compute() -> np.ndarray:
            n, blocks = len(self.images), self._rows(self._block(network))
            found = np.zeros((n, n), np.float64)
            for i, rows in enumerate(blocks):       # with two blocks of embeddings at most in memory
                a = self.embedding(network, rows)
                for columns in blocks[i:]:
                    b = a if columns is rows else self.embedding(network, columns)
                    block = squared_distances(a, b)
                    found[rows.start:rows.stop, columns.start:columns.stop] = block
                    found[columns.start:columns.stop, rows.start:rows.stop] = block.T
            np.fill_diagonal(found, 0)
            return found
        return self._once(network, "distances", compute)

    def pair_distances(self, other: "FeatureSet", network: FeatureNetwork) -> np.ndarray:
        """Return the perceptual distance [N] of each picture and its partner in `other`, which has as many."""
        def of(rows: range) -> np.ndarray:
            return ((self.embedding(network, rows) - other.embedding(network, rows))**2).sum(axis=1, dtype=np.float64)
        return self._once(network, f"pairs-{other.images.sha256}", lambda: np.concatenate(
            [of(rows) for rows in self._rows(min(self.batch, self._block(network)))]))

    def cross_distances(self, other: "FeatureSet", network: FeatureNetwork) -> np.ndarray:
        """Return the perceptual distances [N, M] to every picture of `other`, which should be the smaller set."""
        def compute() -> np.ndarray:
            rows = self._rows(min(self.batch, self._block(network)))
            every = other.embedding(network, range(len(other.images)))
            return np.concatenate([squared_distances(self.embedding(network, part), every) for part in rows])
        return self._once(network, f"cross-{other.images.sha256}", compute)

    def embedding(self, network: FeatureNetwork, rows: range) -> np.ndarray:
        """Return the embeddings [n, D] of the pictures at `rows`, computed anew unless a comparison could keep all."""
        known = self._known.get(_key(network, "embedding"))
        return self._embed(network, rows) if known is None else known[rows.start:rows.stop]

    def _block(self, network: FeatureNetwork) -> int:
        """Return how many embeddings fill half of `MEMORY`; where that is all of them, they are computed and kept."""
        n, key = len(self.images), _key(network, "embedding")
        if key in self._known:
            return n
        one = self._embed(network, range(1))
        block = max(1, MEMORY // 2 // one.nbytes)
        if n <= block:
            self._known[key] = np.concatenate([one, self._embed(network, range(1, n))]) if n > 1 else one
        return block

    def _embed(self, network: FeatureNetwork, rows: range) -> np.ndarray:
        parts = (rows[start:start + self.batch] for start in range(0, len(rows), self.batch))
        return np.concatenate([network.features(from_uint8(self.images.pixels(part)), ["embedding"])["embedding"]
                               for part in parts])

    def _rows(self, size: int) -> list[range]:
        n = len(self.images)
        return [range(start, min(start + size, n)) for start in range(0, n, size)]

    def _once(self, network: FeatureNetwork, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        if not self._recall(network, name):
            self._keep(network, name, compute())
        return self._known[_key(network, name)]

    def _keep(self, network: FeatureNetwork, name: str, value: np.ndarray) -> None:
        self._known[_key(network, name)] = value
        if self.cache is not None:
            buffer = io.BytesIO()
            np.savez(buffer, value=value, about=self._about(network, name))
            write_bytes(self._file(network, name), buffer.getvalue())

    def _recall(self, network: FeatureNetwork, name: str) -> bool:
        """Tell whether a feature is there, in memory or the cache; a damaged or foreign file there counts as none."""
        key = _key(network, name)
        if key not in self._known and self.cache is not None:
            with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), \
                    np.load(self._file(network, name), allow_pickle=False) as stored:
                if str(stored["about"]) == self._about(network, name) and len(stored["value"]) == len(self.images):
                    self._known[key] = stored["value"]
        return key in self._known

    def _about(self, network: FeatureNetwork, name: str) -> str:
        return json.dumps([self.images.sha256, *_key(network, name)])

    def _file(self, network: FeatureNetwork, name: str) -> Path:
        digest = hashlib.sha256(self._about(network, name).encode()).hexdigest()
        return Path(self.cache) / f"{name[:20]}-{digest[:32]}.npz"


def _key(network: FeatureNetwork, name: str) -> tuple[str, str, str]:
    """What a feature depends on besides the pictures; two files of one kind of network share a name, not weights."""
    return network.name, network.sha256, name


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the squared Euclidean distances [n, m] of rows [n, D] and [m, D], float64, never below 0."""
    # Moved to a common centre first: the subtraction of large equal parts would cost digits.
    centre = a.mean(axis=0, dtype=np.float64).astype(a.dtype)
    a, b = a - centre, b - centre
    first, second = (np.einsum("nd,nd->n", x, x, dtype=np.float64) for x in (a, b))
    return np.maximum(first[:, None] + second[None] - 2 * (a @ b.T).astype(np.float64), 0)

"""Inception Score (Salimans et al. 2016): how sure a classifier is of each picture, and how varied its answers are."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SPLITS, SEED = 10, 2020


def inception_score(logits: np.ndarray, splits: int = SPLITS, seed: int = SEED,
                    heads: Sequence[int] | None = None) -> tuple[float, float]:
    """Return mean and deviation over `splits` parts of exp(mean KL(p(y|x) || p(y))) for logits [n, C], n >= splits.

    The pictures are shuffled with `seed` first, as in torch-fidelity. `heads` divides the columns among several
    classifiers; the score is then the geometric mean of theirs.
    """
    assert logits.ndim == 2 and len(logits) >= splits, (logits.shape, splits)
    heads = heads or (logits.shape[1],)
    assert sum(heads) == logits.shape[1], (heads, logits.shape)
    n = len(logits)
    logits = np.asarray(logits, np.float64)[np.random.RandomState(seed).permutation(n)]
    found = []
    for k in range(splits):
        part = logits[k * n // splits:(k + 1) * n // splits]
        found.append(np.exp(np.mean([_information(head) for head in np.split(part, np.cumsum(heads)[:-1], axis=1)])))
    return float(np.mean(found)), float(np.std(found))


def _information(logits: np.ndarray) -> float:
    """Return the mean KL(p(y|x) || p(y)), in nats, of logits [n, C]."""
    log_p = log_softmax(logits)
    p = np.exp(log_p)
    # A class that underflows everywhere contributes nothing; the floor only keeps its logarithm finite.
    log_q = np.log(np.maximum(p.mean(axis=0), np.finfo(np.float64).tiny))
    return float((p * (log_p - log_q)).sum(axis=1).mean())


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities [n, C] of logits [n, C]."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))

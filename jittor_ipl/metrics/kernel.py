"""Kernel Inception Distance (Bińkowski et al. 2018): unbiased squared MMD under a cubic kernel, over random subsets."""
from __future__ import annotations

import numpy as np

SUBSETS, SUBSET_SIZE, DEGREE, SEED = 100, 1000, 3, 2020


def kernel_inception_distance(images: np.ndarray, reference: np.ndarray, subsets: int = SUBSETS,
                              subset_size: int = SUBSET_SIZE, seed: int = SEED) -> tuple[float, float]:
    """Return mean and deviation, over `subsets` draws, of the distance between features [n, d] and [m, d].

    Kernel (x'y / d + 1)^3; a subset has min(subset_size, n, m) >= 2 pictures of each side, drawn without replacement in
    torch-fidelity's order, so that its numbers come back. May be slightly negative: it is unbiased.
    """
    size = min(subset_size, len(images), len(reference))
    assert images.shape[1] == reference.shape[1] and size >= 2, (images.shape, reference.shape)
    rng = np.random.RandomState(seed)
    x, y = np.asarray(images, np.float64), np.asarray(reference, np.float64)
    if size == len(x) == len(y):                       # every subset is the whole set: one draw says all
        return _squared_mmd(x, y), 0.0
    found = []
    for _ in range(subsets):
        rows = rng.choice(len(x), size, replace=False)
        found.append(_squared_mmd(x[rows], y[rng.choice(len(y), size, replace=False)]))
    return float(np.mean(found)), float(np.std(found))


def _squared_mmd(x: np.ndarray, y: np.ndarray) -> float:
    m = len(x)
    xx, yy, xy = ((a @ b.T / a.shape[1] + 1.0) ** DEGREE for a, b in ((x, x), (y, y), (x, y)))
    within = xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)
    return within / (m * (m - 1)) - 2 * xy.sum() / (m * m)

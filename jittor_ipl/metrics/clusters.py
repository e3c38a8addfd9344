"""Intra-cluster LPIPS, the measure of diversity, from a matrix of distances: around medoids (SVL) or references."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLUSTERS = 10


@dataclass(frozen=True)
class Diversity:
    """Mean distances within clusters."""

    mean: float         # of the clusters' own means
    std: float          # of the same
    every: float        # mean over all pictures (or pairs), whatever cluster they are in
    clusters: int       # how many clusters have a mean


def k_medoids(distances: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the medoids [k] and every picture's cluster [n] for a symmetric matrix [n, n]; deterministic.

    Partitioning around medoids (Kaufman and Rousseeuw 1990): the greedy start, then the best exchange of a medoid for
    another picture until none lowers the sum of distances.
    """
    n = len(distances)
    assert distances.shape == (n, n) and 1 <= k <= n, (distances.shape, k)
    distances = np.asarray(distances, np.float64)
    medoids = _greedy(distances, k)
    for _ in range(100 * k):
        gains = _exchange_gains(distances, medoids)
        old, new = np.unravel_index(np.argmin(gains), gains.shape)
        if gains[old, new] >= -1e-12 * distances.max():
            break
        medoids[old] = new
    cluster = distances[:, medoids].argmin(axis=1)
    cluster[medoids] = np.arange(k)                   # also where another medoid is a copy of it
    return medoids, cluster


def _greedy(distances: np.ndarray, k: int) -> np.ndarray:
    medoids = [int(distances.sum(axis=0).argmin())]
    nearest = distances[:, medoids[0]]
    while len(medoids) < k:
        total = np.minimum(nearest[:, None], distances).sum(axis=0)
        total[medoids] = np.inf                       # copies of one picture would otherwise be chosen twice
        medoids.append(int(total.argmin()))
        nearest = np.minimum(nearest, distances[:, medoids[-1]])
    return np.array(medoids)


def _exchange_gains(distances: np.ndarray, medoids: np.ndarray) -> np.ndarray:
    """Return [k, n]: by how much the sum of distances changes when picture j takes the place of medoid i."""
    to = distances[:, medoids]
    order = np.argsort(to, axis=1, kind="stable")
    nearest = np.take_along_axis(to, order[:, :1], 1)
    second = np.take_along_axis(to, order[:, 1:2], 1) if len(medoids) > 1 else np.full_like(nearest, np.inf)
    if_kept = np.minimum(distances - nearest, 0)                       # its medoid stays: only a closer newcomer counts
    if_lost = np.minimum(distances, second) - nearest                  # its medoid goes: to the newcomer or the second
    member = order[:, 0][None] == np.arange(len(medoids))[:, None]     # [k, n]
    gains = if_kept.sum(axis=0)[None] + member.astype(np.float64) @ (if_lost - if_kept)
    gains[:, medoids] = np.inf
    return gains


def to_medoids(distances: np.ndarray, medoids: np.ndarray, cluster: np.ndarray) -> Diversity:
    """Return the distances to the medoids, 0 for a medoid itself: "Avg" and "All" of SVL's tables (Hu et al. 2023)."""
    to = distances[np.arange(len(distances)), medoids[cluster]]
    means = [to[cluster == index].mean() for index in range(len(medoids))]
    return Diversity(float(np.mean(means)), float(np.std(means)), float(to.mean()), len(means))


def within(distances: np.ndarray, cluster: np.ndarray) -> Diversity | None:
    """Return the mean distance of all pairs within each cluster [n] (Ojha et al. 2021); None when no two share one.

    Clusters of one picture have no pair and are left out.
    """
    means, total, count = [], 0.0, 0
    for index in np.unique(cluster):
        rows = np.flatnonzero(cluster == index)
        if len(rows) > 1:
            found = float(np.triu(distances[np.ix_(rows, rows)], 1).sum(dtype=np.float64))
            pairs = len(rows) * (len(rows) - 1) // 2
            means.append(found / pairs)
            total, count = total + found, count + pairs
    return Diversity(float(np.mean(means)), float(np.std(means)), total / count, len(means)) if means else None


def mean_pair(distances: np.ndarray) -> float:
    """Return the mean over all pairs of different pictures of a symmetric matrix [n, n], n >= 2."""
    n = len(distances)
    assert n >= 2, n
    return float(np.triu(distances, 1).sum(dtype=np.float64) / (n * (n - 1) / 2))

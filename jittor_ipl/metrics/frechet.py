"""Fréchet distance of two normal distributions: FID (Heusel et al. 2017) and single-image SIFID (Shaham et al. 2019).

The trace of the root of a product of covariances is taken without that root: with S1 = A A' and S2 = B B' it is the sum
of the singular values of A'B. No regularisation, no imaginary part, and singular covariances (fewer pictures than
features) need no special case. All in float64.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Normal:
    """Mean [..., d] and a factor [..., d, k] of the covariance (factor @ factor'), float64."""

    mean: np.ndarray
    factor: np.ndarray


def of_features(features: np.ndarray) -> Normal:
    """Return the normal distribution of `features` [n, d], n >= 2, covariance over n - 1."""
    assert features.ndim == 2 and len(features) >= 2, features.shape
    features = np.asarray(features, np.float64)
    mean = features.mean(axis=0)
    # The triangle of a QR decomposition has the same square as all rows, in at most d of them.
    return Normal(mean, np.linalg.qr((features - mean) / np.sqrt(len(features) - 1), mode="r").T)


def of_moments(mean: np.ndarray, covariance: np.ndarray) -> Normal:
    """Return the normal distribution of means [..., d] and covariances [..., d, d]; negative eigenvalues count as 0."""
    values, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
    return Normal(np.asarray(mean, np.float64), vectors * np.sqrt(np.maximum(values, 0))[..., None, :])


def distance(a: Normal, b: Normal) -> np.ndarray:
    """Return the squared Fréchet distance [...] of `a` and `b`, whose leading axes broadcast; never below 0."""
    shift = ((a.mean - b.mean)**2).sum(-1)
    spread = (a.factor**2).sum((-2, -1)) + (b.factor**2).sum((-2, -1))
    common = np.linalg.svd(np.swapaxes(a.factor, -1, -2) @ b.factor, compute_uv=False).sum(-1)
    return np.maximum(shift + spread - 2 * common, 0)


def frechet_inception_distance(images: np.ndarray, reference: np.ndarray) -> float:
    """Return the FID of two sets of features [n, d] and [m, d], n and m >= 2; 0 for equal sets."""
    assert images.shape[1] == reference.shape[1], (images.shape, reference.shape)
    return float(distance(of_features(images), of_features(reference)))


def single_image_distances(images: Normal, references: Normal) -> np.ndarray:
    """Return the distances [n, m] of every picture's patches to every reference's; both are batches of `of_moments`."""
    columns = [distance(images, Normal(mean, factor)) for mean, factor in zip(references.mean, references.factor)]
    return np.stack(columns, axis=1)


def patch_moments(maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return means [n, c] and covariances [n, c, c] (over h w - 1) of the places of feature maps [n, c, h, w]."""
    assert maps.ndim == 4 and maps.shape[2] * maps.shape[3] >= 2, maps.shape
    flat = maps.reshape(*maps.shape[:2], -1).astype(np.float64)
    mean = flat.mean(-1)
    flat -= mean[..., None]
    return mean, flat @ flat.transpose(0, 2, 1) / (flat.shape[-1] - 1)

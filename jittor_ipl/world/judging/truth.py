"""Figures that compare adapted pictures with the true renders of the same latents, pixel by pixel or as sets.

Pictures are float32 [N, 3, H, W] in [-1, 1], in the same order on every side.
"""
from __future__ import annotations

import numpy as np

from jittor_ipl.metrics import frechet
from jittor_ipl.world.judging.features import JudgeFeatures

BATCH = 64


def way(adapted: np.ndarray, true: np.ndarray, source: np.ndarray) -> float:
    """Return 1 - L1(adapted, true) / L1(source, true): the part of the way from the source that is done, 1 is all."""
    return 1 - _l1(adapted, true) / _l1(source, true)


def psnr(adapted: np.ndarray, true: np.ndarray) -> float:
    """Return the mean over the pictures of each one's PSNR to its true render, in dB; infinite for equal pictures."""
    error = np.square(adapted - true, dtype=np.float64).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(4 / error).mean())       # a peak of 2, squared


def sharpness(adapted: np.ndarray, true: np.ndarray) -> float:
    """Return the mean gradient magnitude of the adapted pictures over that of the true renders; below 1 is blurred."""
    return _gradient(adapted) / _gradient(true)


class SetFeatures:
    """What FID and the diversity need of a set of pictures, in the features of the colour judge.

    pooled  [N, 128], see `features.JudgeFeatures`
    spread  mean over all pairs of different pictures of their distance by `JudgeFeatures`, the stand-in for LPIPS
    """

    def __init__(self, network: JudgeFeatures, images: np.ndarray) -> None:
        pooled, total, squares = [], 0.0, 0.0
        for i in range(0, len(images), BATCH):
            found = network.features(images[i:i + BATCH], ("pooled", "embedding"))
            pooled.append(found["pooled"])
            total = total + found["embedding"].sum(axis=0, dtype=np.float64)
            squares += float(np.square(found["embedding"], dtype=np.float64).sum())
        n = len(images)
        self.pooled = np.concatenate(pooled)
        # The mean of |a - b|^2 over all pairs, from the sums of the vectors and of their squares.
        self.spread = 2 * (squares / n - float(np.square(total / n).sum())) * n / (n - 1)

    def fid(self, reference: SetFeatures) -> float:
        """Return the FID to another set of at least 2 pictures; biased upwards, the more the fewer pictures."""
        return frechet.frechet_inception_distance(self.pooled, reference.pooled)


def _l1(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).mean(dtype=np.float64))


def _gradient(images: np.ndarray) -> float:
    across = images[..., :-1, 1:] - images[..., :-1, :-1]
    down = images[..., 1:, :-1] - images[..., :-1, :-1]
    return float(np.sqrt(across**2 + down**2).mean(dtype=np.float64))

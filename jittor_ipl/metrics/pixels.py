"""Pairs of pictures compared pixel by pixel: PSNR, SSIM (Wang et al. 2004) and the structural consistency of edges.

Pictures are uint8 [B, H, W, 3]; every function returns one number per pair.
"""
from __future__ import annotations

import numpy as np

PEAK = 255.0
WINDOW, SIGMA, K1, K2 = 11, 1.5, 0.01, 0.03         # of Wang et al.
_LUMA = np.array([0.299, 0.587, 0.114])             # ITU-R BT.601
EDGE_SIGMA, EDGE_PERCENTILE = 1.0, 99.0


def psnr(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the peak signal-to-noise ratio [B] in dB over all pixels and channels; infinite for equal pictures."""
    _check(a, b)
    error = ((a.astype(np.float64) - b)**2).mean(axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return 10 * np.log10(PEAK**2 / error)


def ssim(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the structural similarity [B], -1..1, mean over the three channels and all whole 11 x 11 windows.

    Gaussian window of deviation 1.5, population moments, data range 255: scikit-image's `structural_similarity` with
    gaussian_weights=True, use_sample_covariance=False. Pictures of at least 11 x 11 pixels.
    """
    _check(a, b)
    assert min(a.shape[1:3]) >= WINDOW, a.shape
    return np.array([np.mean([_ssim_channel(*(image[..., channel].astype(np.float64) for image in pair))
                              for channel in range(3)]) for pair in zip(a, b)])


def _ssim_channel(x: np.ndarray, y: np.ndarray) -> float:
    c1, c2 = (K1 * PEAK)**2, (K2 * PEAK)**2
    kernel = _gaussian(SIGMA, WINDOW // 2)
    mx, my, xx, yy, xy = (_smooth(field, kernel) for field in (x, y, x * x, y * y, x * y))
    vx, vy, vxy = xx - mx * mx, yy - my * my, xy - mx * my
    return float((((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())


def structural_consistency_score(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return 2 sum(s t) / sum(s^2 + t^2), 0..1, of the two pictures' edge maps (RSSA; Xiao et al. 2022): [B].

    RSSA takes the edges from HED, whose weights are not free to ship; here they are `edges`, so the figures compare
    only with each other. Two pictures without any edge agree: 1.
    """
    _check(source, target)
    s, t = edges(source), edges(target)
    both = (s**2 + t**2).sum(axis=(1, 2))
    return np.where(both > 0, 2 * (s * t).sum(axis=(1, 2)) / np.where(both > 0, both, 1), 1.0)


def edges(images: np.ndarray) -> np.ndarray:
    """Return edge maps [B, H - 8, W - 8], 0..1: Sobel's gradient of smoothed luma, over its own 99th percentile."""
    kernel = _gaussian(EDGE_SIGMA, 3)
    found = []
    for image in images:
        luma = _smooth(image.astype(np.float64) @ _LUMA / PEAK, kernel)
        # Smooth across, differentiate along; both trimmed to the same inner pixels.
        across = luma[:-2] + 2 * luma[1:-1] + luma[2:]
        along = luma[:, :-2] + 2 * luma[:, 1:-1] + luma[:, 2:]
        strength = np.hypot(across[:, 2:] - across[:, :-2], along[2:] - along[:-2])
        top = np.percentile(strength, EDGE_PERCENTILE)
        # Without a trace of contrast there is nothing to scale up.
        found.append(np.minimum(strength / top, 1.0) if top > 1e-6 else np.zeros_like(strength))
    return np.stack(found)


def _gaussian(sigma: float, radius: int) -> np.ndarray:
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma)**2)
    return weights / weights.sum()


def _smooth(field: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return `field` [H, W] under a separable kernel, whole windows only: [H - 2r, W - 2r]."""
    n = len(kernel) - 1
    rows = sum(weight * field[i:field.shape[0] - n + i] for i, weight in enumerate(kernel))
    return sum(weight * rows[:, i:rows.shape[1] - n + i] for i, weight in enumerate(kernel))


def _check(a: np.ndarray, b: np.ndarray) -> None:
    assert a.dtype == b.dtype == np.uint8 and a.shape == b.shape and a.ndim == 4 and a.shape[3] == 3, (a.shape, b.shape)

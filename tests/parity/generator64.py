"""The generator's synthesis in float64 with NumPy alone: on which side of its kink every leaky ReLU stands."""
from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def mapping(tensors: Mapping[str, np.ndarray], z: np.ndarray, lr_mul: float = 0.01) -> np.ndarray:
    """Map z [B, d] to w [B, d]."""
    w = z / np.sqrt((z.astype(np.float64)**2).mean(1, keepdims=True) + 1e-8)
    for i in range(1, 1 + sum(name.startswith("style.") for name in tensors) // 2):
        weight, bias = (tensors[f"style.{i}.{part}"].astype(np.float64) for part in ("weight", "bias"))
        w = _activated(w @ weight.T * (lr_mul / np.sqrt(weight.shape[1])) + bias * lr_mul)
    return w


def pre_activations(tensors: Mapping[str, np.ndarray], ws: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Return what enters each leaky ReLU of synthesis, [B, C, H, W] in the order of the layers, and the images.

    `tensors` has the names of rosinality checkpoints; `ws` is [B, n_latent, style_dim]; the noise is the stored one.
    """
    t = {name: np.asarray(value, np.float64) for name, value in tensors.items()}
    layers = ["conv1", *(f"convs.{i}" for i in range(sum(name.startswith("noises.") for name in t) - 1))]
    x = np.repeat(t["input.input"], len(ws), 0)
    image, entered = None, []
    for i, layer in enumerate(layers):
        y = _modulated(t, f"{layer}.conv", x, ws[:, i], demodulate=True)
        y = y + t[f"{layer}.noise.weight"] * t[f"noises.noise_{i}"] + t[f"{layer}.activate.bias"].reshape(1, -1, 1, 1)
        entered.append(y)
        x = _activated(y)
        if i % 2 == 0:
            to_rgb = "to_rgb1" if i == 0 else f"to_rgbs.{i // 2 - 1}"
            rgb = _modulated(t, f"{to_rgb}.conv", x, ws[:, i + 1], demodulate=False) + t[f"{to_rgb}.bias"]
            image = rgb if image is None else rgb + _doubled(image, t[f"{to_rgb}.upsample.kernel"])
    return entered, image


def _activated(y: np.ndarray) -> np.ndarray:
    return np.where(y > 0, y, 0.2 * y) * np.sqrt(2)


def _modulated(t: Mapping[str, np.ndarray], name: str, x: np.ndarray, w: np.ndarray, demodulate: bool) -> np.ndarray:
    weight, affine = t[f"{name}.weight"][0], t[f"{name}.modulation.weight"]                     # [O, I, k, k]
    s = w @ affine.T / np.sqrt(affine.shape[1]) + t[f"{name}.modulation.bias"]                  # [B, I]
    s = s / np.sqrt(weight[0].size)
    x = x * s[:, :, None, None]
    blur = t.get(f"{name}.blur.kernel")
    y = _correlate(x, weight, weight.shape[-1] // 2) if blur is None else _blurred(_correlate(
        _spread(x), weight[..., ::-1, ::-1], 2), blur)
    if demodulate:
        y = y / np.sqrt((s * s) @ (weight**2).sum((2, 3)).T + 1e-8)[:, :, None, None]
    return y


def _correlate(x: np.ndarray, weight: np.ndarray, pad: int) -> np.ndarray:
    """Convolve `x` [B, I, H, W] with `weight` [O, I, k, k], one product per tap."""
    x, k = np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)]), weight.shape[-1]
    h, w = x.shape[2] - k + 1, x.shape[3] - k + 1
    # [k, k, O, I]: only whole matrices are multiplied fast
    taps = np.ascontiguousarray(weight.transpose(2, 3, 0, 1))
    return sum(taps[i, j] @ x[:, :, i:i + h, j:j + w].reshape(*x.shape[:2], -1)
               for i in range(k) for j in range(k)).reshape(len(x), -1, h, w)


def _spread(x: np.ndarray, after: int = 0) -> np.ndarray:
    """Put a zero between neighbours, and `after` zeros behind the last."""
    spread = np.zeros((*x.shape[:2], 2 * x.shape[2] - 1 + after, 2 * x.shape[3] - 1 + after))
    spread[:, :, ::2, ::2] = x
    return spread


def _blurred(x: np.ndarray, kernel: np.ndarray, pad: tuple[int, int] = (1, 1)) -> np.ndarray:
    b, c, h, w = x.shape
    y = _correlate(np.pad(x.reshape(b * c, 1, h, w), [(0, 0), (0, 0), pad, pad]), kernel[None, None, ::-1, ::-1], 0)
    return y.reshape(b, c, *y.shape[2:])


def _doubled(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return _blurred(_spread(image, 1), kernel, (2, 1))

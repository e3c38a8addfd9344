"""The inputs of the recorded metrics, for the reference libraries and for ours; NumPy only."""
from __future__ import annotations

import numpy as np


def features(count: int, width: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Return float64 features [count, width] whose columns hang together, as a network's do."""
    rng = np.random.RandomState(seed)
    mixing = np.random.RandomState(99).standard_normal((width, width)) / np.sqrt(width)
    return np.maximum(rng.standard_normal((count, width)) @ mixing + 0.3 + shift, 0)


def pictures(count: int, height: int, width: int, seed: int) -> np.ndarray:
    """Return uint8 pictures [count, height, width, 3]: soft blobs with some noise on them."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x * a + y * b + c) for a, b, c in rng.uniform(0.05, 0.4, (count * 3, 3)) * [1, 1, 20]]
    smooth = np.stack(waves).reshape(count, 3, height, width).transpose(0, 2, 3, 1)
    return np.clip(127 + 90 * smooth + rng.uniform(-25, 25, smooth.shape), 0, 255).astype(np.uint8)


def logits(count: int, classes: int, seed: int) -> np.ndarray:
    """Return float64 logits [count, classes] of a fairly sure classifier."""
    return 3 * np.random.RandomState(seed).standard_normal((count, classes))


def maps(seed: int) -> np.ndarray:
    """Return one feature map [16, 24, 24] whose neighbours are alike, and with dead channels."""
    found = features(24 * 24, 16, seed).T.reshape(16, 24, 24)
    found[3] = found[7] = 0
    return found


FID = {"plain": (features(300, 24, 1), features(257, 24, 2, 0.1)),
       "wide": (features(40, 96, 3), features(35, 96, 4, 0.2)),
       "near": (features(300, 24, 5), features(300, 24, 6))}
KID = {"subsets": (features(300, 24, 1), features(257, 24, 2, 0.1), 100),
       "whole": (features(60, 24, 7), features(60, 24, 8), 60)}
IS = {"even": (logits(200, 10, 1), 10), "odd": (logits(103, 37, 2), 10)}
_FIRST, _SECOND = pictures(3, 48, 40, 1), pictures(3, 48, 40, 2)
# unlike, mixed, darker
PICTURES = (_FIRST, np.stack([_SECOND[0], _FIRST[1] // 2 + _SECOND[1] // 2, _FIRST[2] - _FIRST[2] // 9]))

DINO = {"width": 24, "layers": 2, "heads": 3, "hidden": 96, "patch": 14, "grid": 5}
CLIP_IQA = {"embed_dim": 16, "image_resolution": 32, "vision_layers": (1, 1, 1, 1), "vision_width": 8,
            "vision_patch_size": None,
            "context_length": 77, "vocab_size": 49408, "transformer_width": 16, "transformer_heads": 2,
            "transformer_layers": 1}


def dino_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a float32 tensor of a DINOv2, a function of its name."""
    rng = np.random.RandomState(sum(name.encode()) * 7 + len(name))
    return ((1 if ("norm" in name and name.endswith("weight")) or "lambda" in name
             else 0) + 0.2 * rng.standard_normal(shape)).astype(np.float32)


def colours(seed: int) -> np.ndarray:
    """Return a uint8 picture [64, 64, 3] with every kind of colour, greys and pure ones included."""
    rng = np.random.RandomState(seed)
    found = rng.randint(0, 256, (64, 64, 3)).astype(np.uint8)
    found[:16] //= 1 + seed
    found[16:24] = found[16:24, :, :1]
    found[24:32, :, seed % 3] = 0
    return np.clip(found.astype(int) + rng.randint(-30, 30, 3) * (seed > 4), 0, 255).astype(np.uint8)

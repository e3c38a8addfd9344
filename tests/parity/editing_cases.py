"""What record_editing.py and the tests of editing both compute: sizes, codes, pictures, tokens (NumPy only)."""
from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "golden"))
import fill  # noqa: E402

SEED, WIDTH, LAYERS, BATCH = 5, 8, 10, 3
# Case -> mapper, levels, and whether a code (else, as published, a channel over the layers) has unit mean square.
W_MAPPERS = {"levels": ("LevelsMapper", ("course", "medium", "fine"), False),
             "fewer": ("LevelsMapper", ("course", "fine"), False), "single": ("SingleMapper", (), False),
             "levels_codes": ("LevelsMapper", ("course", "medium", "fine"), True)}
STYLES = (8, 8, 8, 6, 6)         # style layers of an 8 px generator
SIZES, ID_LAMBDA = (64, 96), 0.1    # 96: pooling by 3 after enlarging by 7
CLIP_NUMBERS = dict(embed_dim=16, image_resolution=224, vision_layers=1, vision_width=64, vision_patch_size=32,
                    context_length=8, vocab_size=50, transformer_width=64, transformer_heads=1, transformer_layers=1)
RECOGNISER = dict(width=4, features=16)
TOKENS = np.array([[48, 5, 6, 7, 49, 0, 0, 0]], np.int32)
TENSORS, STEPS, LR = {"weight": (5, 7), "bias": (5,), "kernel": (3, 2, 3)}, 13, 0.5


def ws(seed: int = 0) -> np.ndarray:
    """Codes float32 [BATCH, LAYERS, WIDTH]."""
    return fill.draw("ws", (BATCH, LAYERS, WIDTH), SEED + seed)


def style(layer: int, seed: int = 0) -> np.ndarray:
    """Styles float32 [BATCH, C] of one layer."""
    return fill.draw(f"style{layer}", (BATCH, STYLES[layer]), SEED + seed)


def cotangent(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weights of a sum whose gradient is recorded."""
    return fill.draw(f"cotangent.{name}", tuple(shape), SEED)


def pictures(size: int, seed: int) -> np.ndarray:
    """Pictures float32 [2, 3, size, size] in about [-1, 1]."""
    return ((fill.pictures(2, size, size, seed).astype(np.float32) - 128) / 127.5).astype(np.float32)


def gradient(name: str, step: int) -> np.ndarray:
    """Gradients of many magnitudes: that is where the place of eps shows."""
    scale = 10.0 ** (fill.draw(f"scale.{name}", TENSORS[name], step) * 2 - 3)
    return (fill.draw(f"gradient.{name}", TENSORS[name], step) * scale).astype(np.float32)

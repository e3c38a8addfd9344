"""Pictures dressed up so that no single cheap cue makes a style: what the demo CLIPs are hardened with.

A small CLIP is content with whatever cue is cheapest, and adaptation follows it there. Each disguise takes one away:
a photo in a target's palette is a photo still; a picture that carries the style in a part of its area carries it to
that share; a grey picture keeps its style; and under noise of every strength only what fills many pixels can be seen,
as in the noised CLIP of GLIDE (Nichol et al. 2022, section 2.4).
"""
from __future__ import annotations

import numpy as np


def masks(random: np.random.Generator, count: int, size: int) -> np.ndarray:
    """Random masks float32 [count, 1, size, size] in [0, 1]: blends, half planes, windows or their outside, blobs."""
    rows, columns = np.mgrid[:size, :size] / size
    made = np.empty((count, 1, size, size), np.float32)
    for mask in made[:, 0]:
        kind, share = random.integers(4), random.random()
        if kind == 0:
            mask[:] = share
        elif kind == 1:
            angle = random.uniform(0, 2 * np.pi)
            across = np.cos(angle) * columns + np.sin(angle) * rows
            mask[:] = across < np.quantile(across, share)
        elif kind == 2:
            (h, w), inside = random.uniform(.25, .9, 2), random.random() < .5
            top, left = random.uniform(0, 1 - h), random.uniform(0, 1 - w)
            mask[:] = inside == ((rows >= top) & (rows < top + h) & (columns >= left) & (columns < left + w))
        else:
            cells = int(random.choice((4, 8, 16)))      # blobs, a side
            mask[:] = np.kron(random.random((cells, cells)) < share, np.ones((size // cells, size // cells)))
    return made


def greyed(images: np.ndarray, chosen: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Make the `chosen` [n] of pictures [B, 3, H, W] grey, each with its own contrast and brightness; in [-1, 1]."""
    images = images.copy()
    shape = (len(chosen), 1, 1, 1)
    contrast, brightness = random.uniform(.6, 1.4, shape), random.uniform(-.4, .4, shape)
    images[chosen] = np.clip(images[chosen].mean(1, keepdims=True) * contrast + brightness, -1, 1)
    return images


def noised(images: np.ndarray, least: float, most: float, clean: float, random: np.random.Generator) -> np.ndarray:
    """Add noise of a random strength to each picture [B, 3, H, W], which keeps its scale (over sqrt(1 + strength^2)).

    The strength (standard deviation) is log-uniform from `least` to `most`; a share `clean` of the pictures gets none.
    """
    count = (len(images), 1, 1, 1)
    strength = np.exp(random.uniform(np.log(least), np.log(most), count))
    strength[random.random(len(images)) < clean] = 0
    noise = strength * random.standard_normal(images.shape, dtype=np.float32)
    return ((images + noise) / np.sqrt(1 + strength ** 2)).astype(np.float32)

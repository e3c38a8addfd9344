"""Finishes over a whole picture that turn it into brushwork: dots and facets, with one phase on every canvas.

Each takes rgb float32 [B, 3, S, S] in [0, 1] of any size S and returns the same; the pattern scales with S.
"""
from __future__ import annotations

from functools import lru_cache

import numpy as np

from jittor_ipl.world.drawing.canvas import hash_noise, luminance, saturate

_DOTS_ACROSS = 19          # 3.4 px apart on 64 px


def round_dots(rgb: np.ndarray) -> np.ndarray:
    """Pointillism: a jittered lattice of round dots in pure colours, the mean of what each covers, on pale ground."""
    size = rgb.shape[-1]
    nearest, radius, px, py, hue = _lattice(size)
    vivid = np.clip(saturate(rgb, 1.5) * 1.04, 0, 1)
    rows, columns = ([np.clip((place + shift * size / 64).astype(np.int64), 0, size - 1) for shift in (-1, 0, 1)]
                     for place in (py, px))
    mean = sum(vivid[:, :, row, column] for column in columns for row in rows) / np.float32(9)
    colour = np.clip(mean + hue[None], 0, 1)[:, :, nearest]
    ground = saturate(rgb, .9) * .62 + np.array((.95, .92, .84), np.float32)[None, :, None, None] * .38
    alpha = np.clip((.46 - radius) * size / _DOTS_ACROSS / 1.1 + .5, 0, 1)[None, None]
    return ground + alpha * (colour - ground)


@lru_cache(maxsize=8)
def _lattice(size: int):
    """By pixel the nearest dot [S, S] and its distance in steps; by dot its place and its shift of colour [3, n]."""
    n = _DOTS_ACROSS
    row, column = (grid.ravel() for grid in np.mgrid[-1:n + 1, -1:n + 1])

    def jitter(key: int) -> np.ndarray:
        return .22 * (hash_noise(row + 9, column + 9, np.int64(key)) - .5)
    cx, cy = (column + .5 + .5 * (row % 2) + jitter(1)) / n, (row + .5 + jitter(2)) / n
    axis = (np.arange(size) + .5) / size
    squared = (axis[None, :, None] - cx) ** 2 + (axis[:, None, None] - cy) ** 2
    nearest = squared.argmin(axis=-1)
    radius = np.sqrt(squared.min(axis=-1)).astype(np.float32) * n
    hue = (np.stack([hash_noise(row + 9, column + 9, np.int64(key)) for key in (3, 4, 5)]) - .5) * .24
    return nearest, radius, cx * size, cy * size, hue.astype(np.float32)


# Straight cuts through the whole canvas, each from one point to another; their cells are the facets.
_CUTS = np.array([((-.06, -1), (.08, 1)), ((-1, -.16), (1, -.44)), ((-1, .33), (1, .15)), ((-1, .60), (1, .84)),
                  ((-.70, -1), (-.42, 1)), ((.44, -1), (.74, 1)), ((-1, -.50), (-.15, -1)), ((1, -.42), (.20, -1))],
                  np.float64)
_TINTS = np.array([(.80, .62, .34), (.40, .50, .62), (.60, .52, .44), (.46, .38, .28), (.70, .72, .70)], np.float32)


def straight_facets(rgb: np.ndarray) -> np.ndarray:
    """Cubism: straight cuts through the scene; every cell a step lighter or darker, tinted, a little displaced."""
    size = rgb.shape[-1]
    px, py, value, tint, edge = _cells(size)
    out = saturate(rgb[:, :, py, px], .74)
    strength = .16 * np.clip(2.5 * luminance(out), .2, 1)          # black stays black
    out = (out + strength * (tint[None] - out)) * value[None, None]
    return out * (1 - .75 * edge[None, None])


@lru_cache(maxsize=8)
def _cells(size: int):
    """Source pixels [S, S] (x, y), each cell's value step [S, S] and tint [3, S, S], and the cuts' ink [S, S]."""
    axis = ((np.arange(size) + .5) / size * 2 - 1)
    x, y = axis[None, :, None], axis[:, None, None]
    start, along = _CUTS[:, 0], _CUTS[:, 1] - _CUTS[:, 0]
    side = ((x - start[:, 0]) * along[:, 1] - (y - start[:, 1]) * along[:, 0]) / np.hypot(along[:, 0], along[:, 1])
    cell = ((side > 0) * 2 ** np.arange(len(_CUTS))).sum(axis=-1)
    turn = hash_noise(cell, np.int64(7)) * 2 * np.pi
    shift = .014 * size
    index = np.arange(size)
    px = np.clip(np.rint(index[None, :] + shift * np.cos(turn)), 0, size - 1).astype(np.int64)
    py = np.clip(np.rint(index[:, None] + shift * np.sin(turn)), 0, size - 1).astype(np.int64)
    step = np.array((.64, .86, 1.06, 1.26), np.float32)
    value = step[(hash_noise(cell, np.int64(11)) * 4).astype(np.int64)]
    tint = _TINTS[(hash_noise(cell, np.int64(9)) * len(_TINTS)).astype(np.int64)].transpose(2, 0, 1)
    edge = np.clip((.016 - np.abs(side).min(axis=-1)) / .012, 0, 1).astype(np.float32)
    return px, py, value, tint, edge

"""Random views of a picture: crops, shifts and changes of light, the same for a source picture and its adapted twin.

A change that fools CLIP at one exact position and scale does not survive other views, so a loss over views asks for
changes that a person sees too. A view is two small matrices (one per axis), a change of light and, for CLIPs that were
trained under noise, noise: only what fills many pixels outlives it (the noised CLIP of GLIDE, Nichol et al. 2022,
section 2.4).
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jittor_ipl.ops.bmm import bmm
from jittor_ipl.runtime.backend import jt

MAX_SHIFT = 0.08       # of the side: a window may leave the picture by this much; its border is repeated there
GAIN = (0.85, 1.15)    # contrast
PATCH_SHARE = 510 / 1024     # side of the patch loss's crops, as a part of the image's (NADA: 510 px of 1024)
OFFSET = 0.1           # brightness, of a range of 2
LEAST_NOISE = 0.03     # standard deviation of the weakest noise where noise is asked for


class View(NamedTuple):
    """One view per image of a batch of B: `rows` [B, R, H], `columns` [B, R, W], `gain` and `offset` [B, 1, 1, 1].

    `noise` [B, 3, R, R] is added, or None; after it the image is multiplied by `scale` [B, 1, 1, 1].
    """

    rows: np.ndarray
    columns: np.ndarray
    gain: np.ndarray
    offset: np.ndarray
    noise: np.ndarray | None = None
    scale: np.ndarray | None = None


def draw(rng: np.random.Generator, batch: int, size: int, scale: float, noise: float = 0.0) -> View:
    """Draw a view for each of `batch` images of side `size`: windows of `scale`..1 of the side, seen at full size.

    With `noise` each view gets noise of its own strength, log-uniform from LEAST_NOISE to `noise` (a standard
    deviation), and is divided by sqrt(1 + strength^2), which keeps the scale that a CLIP expects.
    """
    side = size * rng.uniform(scale, 1.0, batch)
    first = rng.uniform(-MAX_SHIFT * size, size - side + MAX_SHIFT * size, (2, batch))
    rows, columns = (np.stack([axis_matrix(size, size, f, s) for f, s in zip(starts, side)]) for starts in first)
    one = (batch, 1, 1, 1)
    gain, offset = rng.uniform(*GAIN, one), rng.uniform(-OFFSET, OFFSET, one)
    view = View(rows, columns, gain.astype(np.float32), offset.astype(np.float32))
    if not noise:
        return view
    strength = np.exp(rng.uniform(np.log(min(LEAST_NOISE, noise)), np.log(noise), one)).astype(np.float32)
    return view._replace(noise=strength * rng.standard_normal((batch, 3, size, size), dtype=np.float32),
                         scale=1 / np.sqrt(1 + strength ** 2))


def axis_matrix(size: int, out: int, first: float, side: float) -> np.ndarray:
    """Return float32 [out, size] that reads the window [first, first + side) of an axis by linear interpolation."""
    position = first + (np.arange(out) + 0.5) * (side / out) - 0.5
    left = np.floor(position).astype(int)
    weight = (position - left).astype(np.float32)
    matrix = np.zeros((out, size), np.float32)
    rows = np.arange(out)
    np.add.at(matrix, (rows, np.clip(left, 0, size - 1)), 1 - weight)
    np.add.at(matrix, (rows, np.clip(left + 1, 0, size - 1)), weight)
    return matrix


def with_views(images: jt.Var, seen: Sequence[View]) -> jt.Var:
    """Return the images [B, 3, H, W] and behind them each of their views, [(1 + len(seen)) * B, 3, H, W]."""
    return jt.concat([images, *(look(images, view) for view in seen)], 0) if seen else images


def look(images: jt.Var, view: View) -> jt.Var:
    """Return the view [B, 3, R, R] of `images` [B, 3, H, W], differentiably: `rows @ image @ columns^T`, relit."""
    b, c, h, w = images.shape
    r, s = view.rows.shape[1], view.columns.shape[1]
    x = bmm(images.reshape(b, c * h, w), jt.array(view.columns), transpose_b=True)              # [B, C*H, S]
    x = x.reshape(b, c, h, s).transpose(0, 1, 3, 2).reshape(b, c * s, h)
    x = bmm(x, jt.array(view.rows), transpose_b=True)                                           # [B, C*S, R]
    seen = x.reshape(b, c, s, r).transpose(0, 1, 3, 2) * jt.array(view.gain) + jt.array(view.offset)
    return seen if view.noise is None else (seen + jt.array(view.noise)) * jt.array(view.scale)


def patch_size(side: int) -> int:
    """Return the side of the patch loss's crops of images of this side, an even number."""
    return int(PATCH_SHARE * side) // 2 * 2


def patches(images: jt.Var, centers: np.ndarray, size: int) -> jt.Var:
    """Cut P squares of side `size` out of images [B, 3, H, W]: `centers` [P, 2] are (x, y), P / B per image."""
    half, per_image = size // 2, len(centers) // images.shape[0]
    cut = [images[i // per_image:i // per_image + 1, :, y - half:y + half, x - half:x + half]
           for i, (x, y) in enumerate(centers.tolist())]
    return jt.concat(cut, 0)


def draw_patch_centers(rng: np.random.Generator, batch: int, side: int) -> np.ndarray:
    """Draw one patch centre (x, y) per image, int [batch, 2], such that the patch lies inside the image."""
    half = patch_size(side) // 2
    return rng.integers(half, max(side - half, half + 1), (batch, 2))

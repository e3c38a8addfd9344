"""How much codes vary from face to face, number by number or along their principal directions: units to move them in.

Where a generator uses only some numbers of w, a step that treats all alike leaves the faces that it can draw. The w of
published generators spreads over all of them, and the published programs move it as it is.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt

_FACES, _SEED = 1000, 5
_LEAST = 0.05       # of a layer's largest deviation: numbers that vary less do not move


def deviations(generator: Generator, space: str, faces: int = _FACES) -> list[np.ndarray]:
    """Return the deviations of random faces' codes: of "W+" [[1, 1, style_dim]], of "S" [1, C] a style layer.

    Latents are RandomState(5).randn, untruncated. Numbers that hardly vary get 0.
    """
    spread = [code.std(0) for code in _codes(generator, space, faces)]
    spread = [np.where(one < _LEAST * one.max(), 0, one).astype(np.float32) for one in spread]
    return [spread[0][None, None]] if space == "W+" else [one[None] for one in spread]


def principal(generator: Generator, space: str, faces: int = _FACES) -> list[np.ndarray]:
    """Return the principal directions of random faces' codes, each as long as its deviation, the longest first.

    Of "W+" [[K, style_dim]]; of "S" [K, C] a style layer, where row k of all layers together is one direction.
    Directions along which faces hardly vary are left out. Faces as for `deviations`.
    """
    codes = _codes(generator, space, faces)
    joined = np.concatenate(codes, 1)
    _, lengths, rows = np.linalg.svd(joined - joined.mean(0), full_matrices=False)
    count = int((lengths >= _LEAST * lengths[0]).sum())
    rows = rows[:count] * (lengths[:count, None] / np.sqrt(len(joined)))
    return np.split(rows.astype(np.float32), np.cumsum([code.shape[1] for code in codes])[:-1], 1)


def _codes(generator: Generator, space: str, faces: int) -> list[np.ndarray]:
    """Return w [N, style_dim] for "W+", S codes [N, C] a layer for "S", of random faces, in double precision."""
    z = np.random.RandomState(_SEED).randn(faces, generator.style_dim).astype(np.float32)
    with jt.no_grad():
        w = generator.mapping(jt.array(z))
        return [code.numpy().astype(np.float64) for code in ([w] if space == "W+" else generator.styles(w))]


def in_deviations(codes: Sequence[jt.Var], units: Sequence[np.ndarray] | None) -> list[jt.Var]:
    """Return differences of codes counted in `units`; those that do not move are 0 and stay 0. None: as they are."""
    if units is None:
        return list(codes)
    return [code * jt.array(np.where(unit > 0, 1 / np.maximum(unit, 1e-12), 0).astype(np.float32))
            for code, unit in zip(codes, units)]

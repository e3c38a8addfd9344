"""From z to pictures: the one way that every command, report and benchmark goes."""
from __future__ import annotations

import numpy as np

from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt


def picture(generator: Generator, z: np.ndarray, noise: str | list[jt.Var] = "const", psi: float = 1.0,
            center: jt.Var | None = None) -> jt.Var:
    """Return the pictures [B, 3, H, W], in about [-1, 1] and not yet computed, of latents z float32 [B, style_dim].

    w is truncated by `psi` towards `center` [1, style_dim] if there is one; `noise` as `Generator.synthesis` takes it.
    """
    w = generator.mapping(jt.array(z))
    return generator.synthesis(w if center is None else generator.truncate(w, psi, center), noise)


def pictures(generator: Generator, z: np.ndarray, batch: int = 32, noise: str = "const", psi: float = 1.0,
             center: jt.Var | None = None) -> np.ndarray:
    """Return the pictures float32 [N, 3, H, W] of latents z [N, style_dim], `batch` at a time, as `picture` makes them.

    The last bits depend on `batch`: oneDNN and cuDNN choose the order of their sums by it.
    """
    with jt.no_grad():
        parts = [picture(generator, z[i:i + batch], noise, psi, center).numpy() for i in range(0, len(z), batch)]
    return np.concatenate(parts)

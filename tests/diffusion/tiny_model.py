"""The Stable Diffusion of a few thousand weights in tests/fixtures/diffusion: 16 px pictures, predicts v."""
from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np
from fixture_files import unpack

from jittor_ipl.weights.diffusion import LatentDiffusion, load_diffusion


@lru_cache
def load_tiny() -> LatentDiffusion:
    """Return the model, loaded once a process: leave its weights as they are."""
    with tempfile.TemporaryDirectory() as folder:
        return load_diffusion(unpack(Path(folder), "diffusion") / "pipeline")


def picture(seed: int, side: int = 16) -> np.ndarray:
    """Return a smooth picture float32 [1, 3, side, side] in [-1, 1]."""
    rs = np.random.RandomState(seed)
    rows, columns = np.linspace(0, 1, side)[:, None], np.linspace(0, 1, side)[None]
    along, across, phase = (rs.uniform(low, high, (3, 1, 1)) for low, high in ((2, 7), (2, 7), (0, 6)))
    return (0.8 * np.sin(along * rows + across * columns + phase)[None]).astype(np.float32)

"""The pictures that are compared with those of diffusers' pipelines, in NumPy for both sides."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sampler_cases import CLASSES

__all__ = ["CASES", "CLASSES", "Case", "draw"]


@dataclass(frozen=True)
class Case:
    """One picture of the tiny pipeline in tests/fixtures/diffusion."""

    sampler: str
    prompt: str = "a ring"
    negative: str = ""
    guidance: float = 3.0
    steps: int = 6
    strength: float | None = None       # of an img2img

    @property
    def name(self) -> str:
        return " ".join(f"{key}={value}" for key, value in vars(self).items() if value is not None)


CASES = [*(Case(name) for name in CLASSES), Case("ddim", guidance=1.0), Case("ddim", negative="ring a"),
         Case("dpm++2m", negative="a a", guidance=7.5, steps=12),
         *(Case(name, strength=0.7, steps=10) for name in CLASSES if name != "pndm")]


def draw(name: str) -> np.ndarray:
    """Return standard noise float32 [1, 4, 8, 8], "z" or "fresh" (of any step); "picture", "style" [1, 3, 16, 16]."""
    rs = np.random.RandomState({"z": 3, "fresh": 4, "picture": 5, "style": 6}[name])
    if name in ("picture", "style"):
        return np.tanh(rs.standard_normal((1, 3, 16, 16))).astype(np.float32)
    return rs.standard_normal((1, 4, 8, 8)).astype(np.float32)

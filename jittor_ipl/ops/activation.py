"""Activations that the loaded networks use."""
from __future__ import annotations

from jittor_ipl.runtime.backend import jt

SQRT_HALF = 0.7071067811865476


def quick_gelu(x: jt.Var) -> jt.Var:
    """Return `x * sigmoid(1.702 x)`, any shape (the activation of OpenAI's CLIP)."""
    return x * jt.sigmoid(x * 1.702)


def gelu(x: jt.Var) -> jt.Var:
    """Return the exact GELU, `x * (1 + erf(x / sqrt 2)) / 2`, any shape (Hendrycks & Gimpel 2016)."""
    return x * (jt.erf(x * SQRT_HALF) + 1.0) * 0.5


def silu(x: jt.Var) -> jt.Var:
    """Return `x * sigmoid(x)`, any shape (Elfwing et al. 2018); behind a group norm, its kernel does it as well."""
    return x * jt.sigmoid(x)

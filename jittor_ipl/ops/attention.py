"""Scaled dot-product attention."""
from __future__ import annotations

from ..runtime.backend import jt
from .bmm import bmm


def softmax(x: jt.Var) -> jt.Var:
    """Return the softmax of `x` [..., n] over the last axis, stable for large values."""
    e = jt.exp(x - x.max(-1, keepdims=True).stop_grad())
    return e / e.sum(-1, keepdims=True)


def attention(q: jt.Var, k: jt.Var, v: jt.Var, mask: jt.Var | None = None) -> jt.Var:
    """Return `softmax(q k^T / sqrt(d) + mask) v`, [B, heads, n, d] (Vaswani et al. 2017, eq. 1).

    `q` is [B, heads, n, d], `k` and `v` [B, heads, m, d]; `mask` [n, m] is added, minus infinity where a key is hidden.
    """
    b, heads, n, d = q.shape
    m = k.shape[2]
    scores = bmm(q.reshape(b * heads, n, d) * d**-0.5, k.reshape(b * heads, m, d), transpose_b=True)
    if mask is not None:
        scores = scores + mask.reshape(1, n, m)
    return bmm(softmax(scores), v.reshape(b * heads, m, d)).reshape(b, heads, n, d)

"""Batched matrix product."""
from __future__ import annotations

from ..runtime.backend import jt


def bmm_reference(a: jt.Var, b: jt.Var, transpose_b: bool = False) -> jt.Var:
    """Return `a @ b` per batch entry with Jittor's own product; `a` [B, n, k], `b` [B, k, m] or [B, m, k] if transposed."""
    return jt.nn.bmm_transpose(a, b) if transpose_b else jt.nn.bmm(a, b)


def bmm(a: jt.Var, b: jt.Var, transpose_b: bool = False) -> jt.Var:
    """Return `a @ b` per batch entry, [B, n, m]; `a` [B, n, k], `b` [B, k, m], or [B, m, k] with `transpose_b`."""
    assert a.ndim == b.ndim == 3 and a.shape[0] == b.shape[0], (a.shape, b.shape)
    assert a.shape[2] == b.shape[2 if transpose_b else 1], (a.shape, b.shape, transpose_b)
    return bmm_reference(a, b, transpose_b)

"""Means and norms with float32 accuracy.

Jittor's own full-tensor mean loses up to a few per cent on large tensors, and its layer, group and instance norms
compute the variance as E[x^2] - E[x]^2, which is wrong by 0.19 at a mean of 1000. Here a mean is a sum divided by a
count and a variance is taken from the differences to the mean (two passes).
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jittor_ipl.ops.layer_norm import FusedLayerNorm
from jittor_ipl.runtime.backend import jt


def mean(x: jt.Var, dims: int | Sequence[int] | None = None, keepdims: bool = False) -> jt.Var:
    """Return the mean of `x` over `dims` (all of them by default; then the shape is [1]).

    A full mean sums axis by axis, so that no float32 accumulator sees millions of terms.
    """
    if dims is None:
        last = x.shape[-1] if x.ndim > 1 else 1
        total = x.reshape(-1, last).sum(1).sum(0) if last > 1 else x.sum()
        return (total.reshape([1] * x.ndim) if keepdims else total) / float(x.numel())
    dims = [d % x.ndim for d in ([dims] if isinstance(dims, int) else dims)]
    count = int(np.prod([x.shape[d] for d in dims]))
    return x.sum(dims, keepdims) / float(count)


def unit(x: jt.Var, dim: int = -1, eps: float = 0.0) -> jt.Var:
    """Return `x / max(|x|, eps)` along `dim`, any shape; with `eps` 0 a zero vector gives NaN, as in OpenAI's CLIP."""
    squared = (x * x).sum(dim, keepdims=True)
    if eps:
        squared = jt.maximum(squared, eps * eps)
    return x / jt.sqrt(squared)


def layer_norm_reference(x: jt.Var, weight: jt.Var, bias: jt.Var, eps: float = 1e-5) -> jt.Var:
    """`layer_norm` with Jittor's own operators; differentiable any number of times."""
    return _standardise(x, -1, eps) * weight + bias


def layer_norm(x: jt.Var, weight: jt.Var, bias: jt.Var, eps: float = 1e-5) -> jt.Var:
    """Normalise `x` [..., d] over its last axis and apply `weight` [d] and `bias` [d] (Ba et al. 2016).

    Differentiable once.
    """
    assert tuple(weight.shape) == tuple(bias.shape) == (x.shape[-1],), (x.shape, weight.shape, bias.shape)
    return FusedLayerNorm(eps)(x.reshape(-1, x.shape[-1]), weight, bias).reshape(x.shape)


def group_norm_reference(x: jt.Var, groups: int, weight: jt.Var, bias: jt.Var, eps: float = 1e-5,
                         silu: bool = False) -> jt.Var:
    """`group_norm.group_norm` with Jittor's own operators; differentiable any number of times."""
    b, c = x.shape[:2]
    assert c % groups == 0, (c, groups)
    y = _standardise(x.reshape(b, groups, -1), -1, eps).reshape(x.shape)
    per_channel = [1, c] + [1] * (x.ndim - 2)
    y = y * weight.reshape(per_channel) + bias.reshape(per_channel)
    return y * jt.sigmoid(y) if silu else y


def _standardise(x: jt.Var, dim: int, eps: float) -> jt.Var:
    centred = x - mean(x, dim, keepdims=True)
    return centred / jt.sqrt(mean(centred * centred, dim, keepdims=True) + eps)


def batch_norm_inference(x: jt.Var, running_mean: jt.Var, running_var: jt.Var, weight: jt.Var, bias: jt.Var,
                         eps: float = 1e-5) -> jt.Var:
    """Apply a trained batch norm to `x` [B, C, ...]: its statistics [C] are never updated (Ioffe & Szegedy 2015)."""
    scale = weight / jt.sqrt(running_var + eps)
    shift = bias - running_mean * scale
    per_channel = [1, x.shape[1]] + [1] * (x.ndim - 2)
    return x * scale.reshape(per_channel) + shift.reshape(per_channel)


def log_softmax(logits: jt.Var) -> jt.Var:
    """Return the logarithm of the softmax of `logits` [..., n] over the last axis, stable for large values."""
    shifted = logits - logits.max(-1, keepdims=True).stop_grad()
    return shifted - jt.log(jt.exp(shifted).sum(-1, keepdims=True))


def cross_entropy(logits: jt.Var, targets: jt.Var) -> jt.Var:
    """Return the mean cross-entropy [1] of `logits` [N, classes] with whole-numbered `targets` [N], in nats."""
    n, classes = logits.shape
    assert tuple(targets.shape) == (n,), (logits.shape, targets.shape)
    chosen = (jt.index([n, classes], 1) == targets.reshape(n, 1)).float32()
    return -(log_softmax(logits) * chosen).sum() / float(n)

"""StyleAligned (Hertz et al., CVPR 2024): pictures that share the style of a reference, without any training."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from jittor_ipl.diffusion.attention_control import attending, replaced, self_attentions

if TYPE_CHECKING:
    from jittor_ipl.models.diffusion.unet import UNet
    from jittor_ipl.models.layers import GroupNorm
    from jittor_ipl.runtime.backend import jt

EPS = 1e-5      # beside the variance of a channel over the tokens


class StyleReference(NamedTuple):
    """A picture whose style others share: [1, 3, H, W] in [-1, 1], and the caption that tells what it shows."""

    picture: np.ndarray
    caption: str


@contextlib.contextmanager
def aligned(unet: UNet) -> Iterator[None]:
    """While the `with` lasts, the U-Net takes rows in pairs (reference, own), and own rows share the reference's style.

    Every self-attention is `aligned_attention`, every group norm `shared_norm`. The reference is as without it.
    (The official code also joins tokens for its layer norms, which look at one token at a time and do not notice.)
    """
    from jittor_ipl.models.layers import GroupNorm
    norms = [module for _, module in unet.named_modules() if isinstance(module, GroupNorm)]
    with attending(self_attentions(unet), aligned_attention), \
            replaced(norms, "execute", lambda norm: partial(shared_norm, norm)):
        yield


def aligned_attention(q: jt.Var, k: jt.Var, v: jt.Var, heads: int) -> jt.Var:
    """Attention of pairs of rows (reference, own) [2 p, n, width]: queries and keys with the statistics of the
    reference's (section 4.1), keys and values of the reference beside the own ones.
    """
    from jittor_ipl.ops.attention import attention
    from jittor_ipl.runtime.backend import jt
    q, k = _like_reference(q), _like_reference(k)
    return attention(q, jt.concat([k, _reference(k)], dim=1), jt.concat([v, _reference(v)], dim=1), heads)


def shared_norm(norm: GroupNorm, x: jt.Var) -> jt.Var:
    """Group norm of pairs of rows (reference, own) [2 p, C, H, W] with the statistics of both pictures together."""
    from jittor_ipl.runtime.backend import jt
    return type(norm).execute(norm, jt.concat([x, _reference(x)], dim=2))[:, :, :x.shape[2]]


def _reference(x: jt.Var) -> jt.Var:
    """Return the reference's row of each pair [2 p, ...] in the places of both."""
    pairs = x.reshape(-1, 2, *x.shape[1:])
    return pairs[:, :1].broadcast(pairs.shape).reshape(x.shape)


def _like_reference(x: jt.Var) -> jt.Var:
    """Return tokens [2 p, n, width] whose channels have, over the tokens, the mean and deviation of the reference's."""
    from jittor_ipl.ops.norms import mean
    from jittor_ipl.runtime.backend import jt
    centre, count = mean(x, 1, keepdims=True), x.shape[1]
    around = x - centre
    spread = jt.sqrt(mean(around * around, 1, keepdims=True) * (count / max(1, count - 1)) + EPS)
    return around / spread * _reference(spread) + _reference(centre)

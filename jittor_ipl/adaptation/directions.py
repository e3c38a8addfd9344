"""Text features, text directions and few-shot directions, computed once before a loop."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jittor_ipl.losses import text_direction
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.clip.texts import constant, encode_texts
from jittor_ipl.ops.norms import unit
from jittor_ipl.runtime.backend import jt
from jittor_ipl.text.tokenizer import ClassPrompt

BATCH = 128      # images encoded at a time
VARIED = 6       # text directions of the loss on covariance, as many as SVL has


def class_direction(source: jt.Var, target: jt.Var) -> jt.Var:
    """Return the unit vector [1, d] along the mean of `target - source` [N, d] (NADA's code)."""
    return constant(unit((target - source).sum(0, keepdims=True) / source.shape[0], eps=1e-8))


def varied(direction: jt.Var, spread: float, random: np.random.Generator) -> jt.Var:
    """Return `VARIED` unit directions [K, d] around `direction` [1, d], each turned from it by atan(spread); d > K.

    What SVL's semantic variations (Jeon et al. 2023) are trained to be, in closed form: equally near to the
    text and as far from each other as can be, the corners of a regular simplex. It lies in a random subspace.
    """
    center = direction.numpy()
    rows = np.concatenate([center, random.standard_normal((VARIED, center.shape[1]))])
    basis, _ = np.linalg.qr(rows.T)                                             # [d, K + 1]
    corners = np.eye(VARIED) - 1 / VARIED
    corners /= np.linalg.norm(corners, axis=1, keepdims=True)
    turned = center + spread * corners @ basis[:, 1:].T
    return constant(jt.array((turned / np.linalg.norm(turned, axis=1, keepdims=True)).astype(np.float32)))


def encode_images(clip: Clip, images: np.ndarray | jt.Var, antialias: bool = False) -> jt.Var:
    """Return the unit features [N, d] of images [N, 3, H, W] in [-1, 1], outside any gradient."""
    with jt.no_grad():
        parts = [unit(clip.image_features(jt.array(images[i:i + BATCH]), antialias))
                 for i in range(0, images.shape[0], BATCH)]
        return constant(jt.concat(parts, 0))


def image_offset(clip: Clip, source_images: np.ndarray | jt.Var, style_images: Sequence[np.ndarray]) -> jt.Var:
    """Return the few-shot offset [1, d] from the mean feature of generated images to that of the style images.

    source_images [N, 3, H, W]; style_images: arrays [3, h, w] of any sizes; all in [-1, 1] (NADA, section 4.4 and its
    code: pictures from files are resized with antialiasing, generated ones without).
    """
    source = mean_feature(encode_images(clip, source_images))
    target = mean_feature(jt.concat([encode_images(clip, image[None], antialias=True) for image in style_images], 0))
    return constant(target - source)


class Prompts:
    """Image-specific prompts (IPL, section 3.2) as one CLIP reads them: prompt vectors -> text features.

    source, target: the classes behind the hand-written prompt, one word for each vector. The features of "<prompt>
    <class>." are added to the learned ones. `official` repeats the original's stage 2, which adds that of "<prompt>" to
    both.
    """

    def __init__(self, clip: Clip, source: ClassPrompt, target: ClassPrompt, official: bool = False):
        self.clip, self.official = clip, official
        self.tokens = [prompt.tokens(clip.context_length) for prompt in (source, target)]
        self.written = [encode_texts(clip, [prompt.sentence]) for prompt in (source, target)]   # [1, d] each
        self.bare = encode_texts(clip, [source.prefix]) if official else None

    def learned(self, context: jt.Var) -> tuple[jt.Var, jt.Var]:
        """Encode `context` [B, n_ctx, width] with each class name behind it -> source and target features [B, d]."""
        return tuple(self.clip.encode_prompts(context, tokens) for tokens in self.tokens)

    def features(self, context: jt.Var) -> tuple[jt.Var, jt.Var]:
        """Return learned plus written features [B, d] of source and target, not normalised (IPL, stage 1)."""
        return tuple(learned + written for learned, written in zip(self.learned(context), self.written))

    def directions(self, source: jt.Var, target: jt.Var) -> jt.Var:
        """Return stage 2's unit text directions [B, d] from learned features `source`, `target` [B, d] (IPL eq. 6)."""
        written = (self.bare, self.bare) if self.official else self.written
        return text_direction(source + written[0], target + written[1])


def mean_feature(features: jt.Var) -> jt.Var:
    """Return the mean [1, d] of features [N, d], outside any gradient."""
    return constant(features.sum(0, keepdims=True) / features.shape[0])

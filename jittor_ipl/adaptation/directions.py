"""What each CLIP wants to hear: text features, text directions and few-shot directions, computed once before a loop."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jittor_ipl.losses import text_direction
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.ops.norms import unit
from jittor_ipl.runtime.backend import jt
from jittor_ipl.text import tokenizer as text

BATCH = 128      # texts or images encoded at a time
VARIED = 6       # text directions of the loss on covariance, as many as SVL has


@dataclass(frozen=True)
class Listener:
    """One CLIP of the ensemble, its weight, and all that it knows of the two classes; every feature is constant."""

    clip: Clip
    weight: float
    direction: jt.Var          # [1, d] unit: from the source class to the target class
    length: float              # of the way between them, before it was made a unit
    source_text: jt.Var        # [1, d] mean of the 79 normalised template features
    target_text: jt.Var        # [1, d]
    global_text: jt.Var        # [1, d] "a <target>", for the global loss
    class_text: jt.Var         # [1, d] "<target>", for the choice of layers
    part_directions: jt.Var    # [15, d] unit, or [0, d] when no patch loss needs them
    scale: float               # exp(logit_scale)
    answers: tuple[tuple[jt.Var, jt.Var], ...] = ()    # per question: unit features [n, d] in words of the source, of the target
    names: jt.Var | None = None     # [2 + n, d]: the target class, the source class, and what else images must not be taken for
    varied: jt.Var | None = None    # [K, d] unit: text directions around `direction`, for the loss on covariance


def listen(clip: Clip, weight: float, source_class: str, target_class: str, *, parts: bool = False,
           image_offset: jt.Var | None = None, questions: Sequence[Sequence[str]] = (),
           names: Sequence[str] | None = None) -> Listener:
    """Return the listener of `clip` for these classes; `image_offset` [1, d] (few-shot) replaces the texts'.

    `parts` prepares the patch loss: 30 class names more in 79 templates each. `questions`: lists of answers with {} in place
    of the class, for the loss on variations; `names`: further classes that images must not be taken for, for the loss on
    naming. Raises UserError for an over-long class.
    """
    source, target = template_features(clip, source_class), template_features(clip, target_class)
    parts_of = [text.fill_templates(name, text.PART_TEMPLATES) for name in (source_class, target_class)]
    pairs = list(zip(*parts_of)) if parts else []
    directions = [class_direction(template_features(clip, s), template_features(clip, t)) for s, t in pairs]
    offset = _mean(target) - _mean(source) if image_offset is None else image_offset
    return Listener(
        clip, weight, class_direction(source, target) if image_offset is None else _constant(unit(offset, eps=1e-8)),
        float(np.linalg.norm(offset.numpy())),
        _mean(source), _mean(target), encode_texts(clip, [f"a {target_class}"]), encode_texts(clip, [target_class]),
        jt.concat(directions, 0).stop_grad() if directions else jt.zeros([0, source.shape[1]]),
        float(clip.logit_scale.exp().item()),
        tuple((_answers(clip, question, source_class), _answers(clip, question, target_class)) for question in questions),
        None if names is None else
        _constant(jt.concat([_mean(target), _mean(source), *(_mean(template_features(clip, name)) for name in names)], 0)))


def _answers(clip: Clip, question: Sequence[str], class_name: str) -> jt.Var:
    return _constant(unit(encode_texts(clip, [answer.replace("{}", class_name) for answer in question])))


def encode_texts(clip: Clip, texts: Sequence[str]) -> jt.Var:
    """Return the features [N, d] of `texts`, not normalised, outside any gradient."""
    with jt.no_grad():
        parts = [clip.encode_text(text.tokenize(list(texts[i:i + BATCH]), clip.context_length))
                 for i in range(0, len(texts), BATCH)]
        return _constant(jt.concat(parts, 0))


def template_features(clip: Clip, class_name: str) -> jt.Var:
    """Return the unit features [79, d] of a class name in the 79 templates (Radford et al. 2021, section 3.1.4)."""
    return _constant(unit(encode_texts(clip, text.fill_templates(class_name))))


def class_direction(source: jt.Var, target: jt.Var) -> jt.Var:
    """Return the unit vector [1, d] along the mean of `target - source` [N, d] (NADA's code)."""
    return _constant(unit((target - source).sum(0, keepdims=True) / source.shape[0], eps=1e-8))


def varied(direction: jt.Var, spread: float, random: np.random.Generator) -> jt.Var:
    """Return `VARIED` unit directions [K, d] around `direction` [1, d], each turned from it by atan(spread); d > K.

    What SVL's semantic variations (Jeon et al. 2023) are trained to be, in closed form: equally near to the
    text and as far from each other as can be, the corners of a regular simplex. It lies in a random subspace.
    """
    center = direction.numpy()
    basis, _ = np.linalg.qr(np.concatenate([center, random.standard_normal((VARIED, center.shape[1]))]).T)       # [d, K + 1]
    corners = np.eye(VARIED) - 1 / VARIED
    corners /= np.linalg.norm(corners, axis=1, keepdims=True)
    turned = center + spread * corners @ basis[:, 1:].T
    return _constant(jt.array((turned / np.linalg.norm(turned, axis=1, keepdims=True)).astype(np.float32)))


def encode_images(clip: Clip, images: np.ndarray | jt.Var, antialias: bool = False) -> jt.Var:
    """Return the unit features [N, d] of images [N, 3, H, W] in [-1, 1], outside any gradient."""
    with jt.no_grad():
        parts = [unit(clip.image_features(jt.array(images[i:i + BATCH]), antialias))
                 for i in range(0, images.shape[0], BATCH)]
        return _constant(jt.concat(parts, 0))


def image_offset(clip: Clip, source_images: np.ndarray | jt.Var, style_images: Sequence[np.ndarray]) -> jt.Var:
    """Return the few-shot offset [1, d], of any length: from the mean feature of generated images to that of the style images.

    source_images [N, 3, H, W]; style_images: arrays [3, h, w] of any sizes; all in [-1, 1] (NADA, section 4.4 and its
    code: pictures from files are resized with antialiasing, generated ones without).
    """
    source = _mean(encode_images(clip, source_images))
    target = _mean(jt.concat([encode_images(clip, image[None], antialias=True) for image in style_images], 0))
    return _constant(target - source)


class Prompts:
    """Image-specific prompts (IPL, section 3.2) as one CLIP hears them: prompt vectors -> text features.

    init: the hand-written prompt with one word per vector, or "" for none. The features of "<init> <class>." are added to
    the learned ones. `official` repeats the original's stage 2, which adds the feature of "<init>" to both classes.
    """

    def __init__(self, clip: Clip, n_ctx: int, init: str, source_class: str, target_class: str, official: bool = False):
        self.clip, self.official = clip, official
        asked = [text.class_prompts(name, init, n_ctx) for name in (source_class, target_class)]
        assert asked[0].n_ctx == n_ctx, (init, n_ctx)
        self.tokens = [prompt.tokens(clip.context_length) for prompt in asked]
        self.written = [encode_texts(clip, [prompt.sentence]) for prompt in asked]              # [1, d] each
        self.bare = encode_texts(clip, [asked[0].prefix]) if official else None

    def learned(self, context: jt.Var) -> tuple[jt.Var, jt.Var]:
        """Encode `context` [B, n_ctx, width] with each class name behind it -> source and target features [B, d]."""
        return tuple(self.clip.encode_prompts(context, tokens) for tokens in self.tokens)

    def features(self, context: jt.Var) -> tuple[jt.Var, jt.Var]:
        """Return learned plus written features [B, d] of source and target, not normalised (IPL, stage 1)."""
        return tuple(learned + written for learned, written in zip(self.learned(context), self.written))

    def directions(self, source: jt.Var, target: jt.Var) -> jt.Var:
        """Return the unit text directions [B, d] of stage 2 from learned features `source`, `target` [B, d] (IPL eq. 6)."""
        written = (self.bare, self.bare) if self.official else self.written
        return text_direction(source + written[0], target + written[1])


def _mean(features: jt.Var) -> jt.Var:
    return _constant(features.sum(0, keepdims=True) / features.shape[0])


def _constant(value: jt.Var) -> jt.Var:
    """Compute now and cut off from any graph."""
    value = value.stop_grad()
    value.sync()
    return value

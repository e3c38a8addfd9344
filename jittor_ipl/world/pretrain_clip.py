"""Train the demo world's CLIPs on rendered portraits and captions.

Two things differ from CLIP's own training (Radford et al. 2021, section 2.3). The targets are exact: a caption's positives
are all pictures of the batch that it is true of. And the image tower is trained on adversarial pictures (Madry et al. 2018,
one step from a random start): the gradient of a robust tower changes what a person sees, that of a plain one is noise
(Santurkar et al. 2019), and adaptation follows nothing but that gradient.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..models.clip import Clip
from ..ops.norms import unit
from ..runtime.backend import jt
from ..runtime.streams import rng
from ..text import tokenize
from ..train.optim import Adam, cosine, warmup
from ..weights.strict import named_tensors
from . import captions
from .attributes import ATTRIBUTES
from .judge import SECTIONS
from .looks import STYLES
from .pool import Pool, perturb, to_float
from .pretrain_judge import classification, one_hot

CONTEXT_LENGTH = 77


@dataclass(frozen=True)
class Recipe:
    """How one demo CLIP is made."""

    tower: dict                 # the image tower's constructor numbers
    steps: int
    batch: int = 64
    lr: float = 1e-3
    attack: float = 0.0         # largest L2 length of the attack over a picture in [-1, 1]; 0 trains without attack
    plain: float = .3           # share of the steps before the attack begins
    zoom: float = .25
    probe: float = .3           # weight of a linear probe on the features (style and attributes), dropped after training
    seed: int = 11


TEXT = dict(embed_dim=96, context_length=CONTEXT_LENGTH, transformer_width=96, transformer_heads=4, transformer_layers=3)
RECIPES = {
    "clip-rn": Recipe(dict(image_resolution=64, vision_layers=(2, 2, 2, 2), vision_width=16, norm="group"), steps=2800, lr=2e-3,
                      attack=5.0),
    "clip-vit": Recipe(dict(image_resolution=64, vision_layers=4, vision_width=128, vision_patch_size=8), steps=2200, attack=4.0,
                       zoom=.35, seed=12),
}


class Vocabulary:
    """The token ids that captions can contain, renumbered 0..n-1 in the same order, so the end token stays the highest."""

    def __init__(self) -> None:
        self.rows = np.unique(tokenize(captions.vocabulary_texts(), CONTEXT_LENGTH))

    def compact(self, texts: list[str]) -> np.ndarray:
        """Token rows [N, L] in the small numbering; every word of the texts must be known."""
        ids = tokenize(texts, CONTEXT_LENGTH)
        small = np.searchsorted(self.rows, ids)
        assert (self.rows[np.minimum(small, len(self.rows) - 1)] == ids).all(), "a caption has a word outside the vocabulary"
        return small.astype(np.int32)


def contrastive(image, text, scale, match: np.ndarray):
    """Symmetric cross-entropy [1] of unit features [B, d] and [N, d] against all true pairs of `match` [B, N]."""
    logits = scale * jt.matmul(image, text.transpose(0, 1))
    share = match.astype(np.float32)
    by_image = jt.array(share / np.maximum(share.sum(1, keepdims=True), 1) / share.shape[0])
    by_text = jt.array(share / np.maximum(share.sum(0, keepdims=True), 1) / share.shape[1])
    return -.5 * ((by_image * _log_softmax(logits, 1)).sum() + (by_text * _log_softmax(logits, 0)).sum())


def train(recipe: Recipe, pool: Pool, vocabulary: Vocabulary, state: dict | None = None, start: int = 0, hook=None) -> Clip:
    """Train one CLIP with the small numbering of tokens; `hook(step, loss, tensors, optimiser)` is called after every step."""
    clip = Clip(**TEXT, **recipe.tower, vocab_size=len(vocabulary.rows)).initialise(rng(recipe.seed, "clip-weights"))
    probe = jt.array(rng(recipe.seed, "probe").normal(0, .05, (sum(SECTIONS), clip.embed_dim)).astype(np.float32))
    parameters = {**named_tensors(clip), "probe": probe}
    optimiser = Adam(parameters, recipe.lr, betas=(.9, .98), weight_decay=.02, decoupled=True)
    if state:
        for name, var in parameters.items():
            var.assign(jt.array(state["weights/" + name]))
        optimiser.load_state({k[4:]: v for k, v in state.items() if k.startswith("opt/")})
    names = list(parameters)
    for step in range(start, recipe.steps):
        random = rng(recipe.seed, "clip-batch", step)
        images, styles, labels = pool.draw(random, recipe.batch)
        images = perturb(images, random, zoom=recipe.zoom)
        texts, predicates = captions.draw(random, styles, labels)
        match = captions.matches(predicates, styles, labels)
        truth = one_hot(styles, labels)
        text = unit(clip.encode_text(vocabulary.compact(texts)))

        def loss_of(x, text, match=match, truth=truth):
            features = unit(clip.image_features(x))
            probed = classification(jt.matmul(features, probe.transpose(0, 1)) * 10, truth)
            return contrastive(features, text, clip.scale(), match) + recipe.probe * probed
        if recipe.attack and step >= recipe.plain * recipe.steps:
            images = attacked(lambda x: loss_of(x, text.detach()), images, recipe.attack, random)
        loss = loss_of(jt.array(images), text)
        rate = warmup(cosine(recipe.lr, step, recipe.steps, recipe.lr * .02), step, 100)
        optimiser.step(dict(zip(names, jt.grad(loss, [parameters[n] for n in names]))), rate)
        if hook:
            hook(step, float(loss.item()), parameters, optimiser)
    return clip


def attacked(loss_of, images: np.ndarray, limit: float, random: np.random.Generator) -> np.ndarray:
    """One gradient step up the loss from a random start, of a random L2 length up to `limit` a picture; kept in [-1, 1]."""
    b = len(images)
    length = (limit * random.random((b, 1, 1, 1))).astype(np.float32)
    start = random.standard_normal(images.shape, dtype=np.float32)
    start *= .3 * length / np.sqrt((start ** 2).sum(axis=(1, 2, 3), keepdims=True))
    x = jt.array(np.clip(images + start, -1, 1))
    gradient = jt.grad(loss_of(x), x).numpy()
    norm = np.sqrt((gradient ** 2).sum(axis=(1, 2, 3), keepdims=True)) + 1e-12
    return np.clip(images + start + length * gradient / norm, -1, 1).astype(np.float32)


def zero_shot(clip: Clip, vocabulary: Vocabulary, images: np.ndarray, styles: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Accuracy of style and of every attribute by comparing pictures [B, 3, H, W] uint8 with one plain caption a value."""
    features = np.concatenate([unit(clip.image_features(jt.array(to_float(images[i:i + 64])))).numpy()
                               for i in range(0, len(images), 64)])
    result = {"style": _accuracy(clip, vocabulary, features, [f"a photo of a {s}." for s in STYLES], styles)}
    for column, name in enumerate(ATTRIBUTES):
        wordings = []
        for value in range(len(ATTRIBUTES[name])):
            predicate = np.full(1 + len(ATTRIBUTES), -1)
            predicate[1 + column] = value
            wordings.append("a photo of a " + captions.plain(predicate) + ".")
        result[name] = _accuracy(clip, vocabulary, features, wordings, labels[:, column])
    return result


def _accuracy(clip, vocabulary, features, texts, truth) -> float:
    text = unit(clip.encode_text(vocabulary.compact(texts))).numpy()
    return float(np.mean((features @ text.T).argmax(1) == truth))


def _log_softmax(x, dim: int):
    shifted = x - x.max(dim=dim, keepdims=True).detach()
    return shifted - shifted.exp().sum(dim=dim, keepdims=True).log()

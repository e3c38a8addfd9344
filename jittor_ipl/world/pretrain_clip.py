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
from .looks import SOURCE, STYLES
from .pool import Pool, perturb, to_float
from .pretrain_judge import classification, one_hot, recolour
from .resume import restore

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
    recoloured: float = 0.0     # share of pictures in another picture's palette; their true style stays
    polish_steps: int = 0       # steps after these, against the stronger attack below
    polish_attack: float = 14.0
    polish_decoys: float = .15  # share of pictures that become photos in the palette of another style
    polish_lr: float = 6e-4
    zoom: float = .25           # strengths of the random views, see `pool.perturb`
    noise: float = .10
    blur: float = .4
    probe: float = .3           # weight of a linear probe on the features (style and attributes), dropped after training
    seed: int = 11

    def total(self) -> int:
        """All steps."""
        return self.steps + self.polish_steps

    def rate(self, step: int) -> float:
        """Learning rate of a step: warm-up and cosine, then a second, lower cosine for the polish."""
        if step < self.steps:
            return warmup(cosine(self.lr, step, self.steps, self.lr * .02), step, 100)
        return warmup(cosine(self.polish_lr, step - self.steps, self.polish_steps, self.polish_lr * .02), step - self.steps, 30)

    def attack_at(self, step: int) -> tuple[float, int]:
        """Largest length of a step's attack and its number of gradient steps (0: none)."""
        if step >= self.steps:
            return self.polish_attack, 1
        return self.attack, int(bool(self.attack) and step >= self.plain * self.steps)


TEXT = dict(embed_dim=96, context_length=CONTEXT_LENGTH, transformer_width=96, transformer_heads=4, transformer_layers=3)
RECIPES = {
    "clip-rn": Recipe(dict(image_resolution=64, vision_layers=(2, 2, 2, 2), vision_width=16, norm="group"), steps=2800, lr=2e-3,
                      attack=5.0, polish_steps=1200),
    "clip-vit": Recipe(dict(image_resolution=64, vision_layers=4, vision_width=128, vision_patch_size=8), steps=1600, attack=7.0,
                       recoloured=.3, probe=.8, seed=12),
    # Not robust, for small things: expression is lost under blur and attack.
    "clip-fine": Recipe(dict(image_resolution=64, vision_layers=(2, 2, 2, 2), vision_width=16, norm="group"), steps=2400, lr=2e-3,
                        zoom=.06, noise=.03, blur=.05, probe=1.0, seed=13),
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
        restore(parameters, optimiser, state)
    names = list(parameters)
    for step in range(start, recipe.total()):
        random = rng(recipe.seed, "clip-batch", step)
        images, styles, labels = pool.draw(random, recipe.batch)
        if step >= recipe.steps:
            images, styles, labels = with_decoys(images, styles, labels, pool, recipe.polish_decoys, random)
        texts, predicates = captions.draw(random, styles, labels)
        images, labels = repainted(images, labels, recipe.recoloured, random)
        images = perturb(images, random, zoom=recipe.zoom, noise=recipe.noise, blur=recipe.blur)
        match = captions.matches(predicates, styles, labels)
        truth = one_hot(styles, labels)
        text = unit(clip.encode_text(vocabulary.compact(texts)))

        def loss_of(x, text, match=match, truth=truth):
            features = unit(clip.image_features(x))
            probed = classification(jt.matmul(features, probe.transpose(0, 1)) * 10, truth)
            return contrastive(features, text, clip.scale(), match) + recipe.probe * probed
        limit, count = recipe.attack_at(step)
        if count:
            images = attacked(lambda x: loss_of(x, text.detach()), images, limit, count, random)
        loss = loss_of(jt.array(images), text)
        optimiser.step(dict(zip(names, jt.grad(loss, [parameters[n] for n in names]))), recipe.rate(step))
        if hook:
            hook(step, float(loss.item()), parameters, optimiser)
    return clip


def with_decoys(images, styles, labels, pool: Pool, share: float, random: np.random.Generator):
    """Replace the first `share` of a batch by photos of other faces in the palettes of the pictures they replace.

    They are photos still: a palette alone must not make a style. Their colour labels are taken back (-2: nothing).
    """
    count = int(share * len(images))
    faces, photo = random.integers(len(pool.labels), size=count), STYLES.index(SOURCE)
    images, styles, labels = images.copy(), styles.copy(), labels.copy()
    images[:count] = recolour(to_float(pool.images[faces, photo]), images[:count])
    styles[:count], labels[:count] = photo, pool.labels[faces]
    return images, styles, labels


def repainted(images: np.ndarray, labels: np.ndarray, share: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Give a share of pictures the palette of another one, and take back what their labels say of colours (-2: nothing).

    Without this a palette alone makes a style, and adaptation would change nothing but the palette.
    """
    chosen = np.flatnonzero(random.random(len(images)) < share)
    like = random.permutation(len(images))[:len(chosen)]
    images, labels = images.copy(), labels.copy()
    images[chosen] = recolour(images[chosen], images[like])
    labels[np.ix_(chosen, [list(ATTRIBUTES).index(name) for name in ("skin", "hair", "background")])] = -2
    return images, labels


def attacked(loss_of, images: np.ndarray, limit: float, count: int, random: np.random.Generator) -> np.ndarray:
    """`count` gradient steps up the loss from a random start, to a random L2 length up to `limit` a picture; in [-1, 1]."""
    length = (limit * random.random((len(images), 1, 1, 1))).astype(np.float32)
    start = random.standard_normal(images.shape, dtype=np.float32)
    moved = np.clip(images + .3 * length * start / _length(start), -1, 1)
    for _ in range(count):
        x = jt.array(moved)
        gradient = jt.grad(loss_of(x), x).numpy()
        away = moved + length * (1.0 if count == 1 else .7) * gradient / _length(gradient) - images
        away *= np.minimum(1, length / _length(away))
        moved = np.clip(images + away, -1, 1).astype(np.float32)
    return moved


def _length(x: np.ndarray) -> np.ndarray:
    """L2 length of every picture, [B, 1, 1, 1]."""
    return np.sqrt((x ** 2).sum(axis=(1, 2, 3), keepdims=True)) + np.float32(1e-12)


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

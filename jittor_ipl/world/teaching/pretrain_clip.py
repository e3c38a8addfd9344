"""Train the demo world's CLIPs on rendered pictures of both subjects and their captions.

Three things differ from CLIP's own training (Radford et al. 2021, section 2.3). The targets are exact: a caption's
positives are all pictures of the batch that it is true of, to the share that it is true. The pictures are disguised
(`disguises`), so that no cheap cue makes a style. And one of the towers is attacked (Madry et al. 2018, from a random
start): the gradient of a robust tower changes what a person sees, that of a plain one is noise (Santurkar et al. 2019),
and adaptation follows nothing but that gradient.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jittor_ipl.models.clip.config import ClipConfig
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.ops.norms import log_softmax, unit
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.text.tokenizer import tokenize
from jittor_ipl.train.optim import Adam, cosine, warmup
from jittor_ipl.train.state import Loop, State, Weights, part_of
from jittor_ipl.world.drawing.disguises import greyed, masks, noised
from jittor_ipl.world.subjects import PETS, PORTRAITS
from jittor_ipl.world.teaching.captions import PET, PORTRAIT, Language, matches
from jittor_ipl.world.teaching.mixture import Mixture, MixturePart
from jittor_ipl.world.teaching.pool import Pool, perturb, to_float
from jittor_ipl.world.teaching.pretrain_judge import classification, one_hot, recolour

CONTEXT_LENGTH = 77
SUBJECTS = ((PORTRAITS, PORTRAIT, .7), (PETS, PET, .3))         # with the share of each in a batch
SECTIONS = (len(PORTRAITS.styles), *PORTRAITS.sections[1:], *PETS.sections[1:])


@dataclass(frozen=True)
class ClipRecipe:
    """How one demo CLIP is made."""

    steps: int
    seed: int
    origin: str = ""            # the recipe whose result it starts from
    stage: bool = False         # only what others start from, no asset
    batch: int = 64
    lr: float = 2e-3
    attack: float = 0.0         # largest L2 length of the attack over a picture in [-1, 1]; 0 trains without attack
    attack_steps: int = 2
    zoom: float = .3            # largest share of the side that a crop removes
    noise: float = .2           # largest standard deviation of the noise
    clean: float = .15          # share of pictures without noise
    grey: float = .2            # share of grey pictures
    decoys: float = .2          # share of pictures that become photos in the palette of the target style
    mixed: float = 0.0          # share of pictures that carry their style only in parts
    probe: float = .3           # weight of a linear probe on the features, dropped after training


TEXT = dict(embed_dim=96, context_length=CONTEXT_LENGTH,
            transformer_width=96, transformer_heads=4, transformer_layers=3)
TOWER = dict(image_resolution=64, vision_layers=(2, 2, 2, 2), vision_width=12, norm="group")
# Small things are learnt while they can be seen: disguises and attacks come after a training without much of them.
RECIPES = {
    "clip-plain": ClipRecipe(stage=True, steps=2400, seed=11, noise=.3, clean=.3, zoom=.25, probe=.5),
    "clip-fine": ClipRecipe(stage=True, steps=2400, seed=14, origin="clip-plain", noise=.2, clean=.4, zoom=.2, grey=.1,
                            decoys=.1, probe=1.0),
    # Sees crops, through noise and in parts: local evidence and exact palettes.
    "clip-local": ClipRecipe(steps=1600, seed=12, origin="clip-fine", lr=1e-3, zoom=.65, noise=3.0, mixed=.3),
    # Attacked: what it wants is seen by a person.
    "clip-robust": ClipRecipe(steps=1000, seed=13, origin="clip-fine", lr=1e-3, attack=22.0, zoom=.15),
}


class Vocabulary:
    """The token ids that captions can contain, renumbered in the same order: the end token stays the highest."""

    def __init__(self) -> None:
        texts = [text for _, language, _ in SUBJECTS for text in language.vocabulary_texts()]
        self.rows = np.unique(tokenize(texts, CONTEXT_LENGTH))

    def compact(self, texts: list[str]) -> np.ndarray:
        """Token rows [N, L] in the small numbering; every word of the texts must be known."""
        ids = tokenize(texts, CONTEXT_LENGTH)
        small = np.searchsorted(self.rows, ids)
        known = self.rows[np.minimum(small, len(self.rows) - 1)] == ids
        assert known.all(), "a caption has a word outside the vocabulary"
        return small.astype(np.int32)


def contrastive(image, text, scale, match: np.ndarray):
    """Symmetric cross-entropy [1] of unit features [B, d] and [N, d] against the true pairs of `match` [B, N]."""
    logits = scale * jt.matmul(image, text.transpose(0, 1))
    share = match.astype(np.float32)
    by_image = jt.array(share / np.maximum(share.sum(1, keepdims=True), 1e-6) / share.shape[0])
    by_text = jt.array(share / np.maximum(share.sum(0, keepdims=True), 1e-6) / share.shape[1])
    of_text = by_text.transpose(0, 1) * log_softmax(logits.transpose(0, 1))
    return -.5 * ((by_image * log_softmax(logits)).sum() + of_text.sum())


def train(recipe: ClipRecipe, pools: list[Pool], vocabulary: Vocabulary, origin: State | None = None,
          loop: Loop | None = None) -> Clip:
    """Train one CLIP with the small numbering of tokens, from the weights in `origin`, a last state, if given."""
    mixture = Mixture([MixturePart(pool, language, share) for pool, (_, language, share) in zip(pools, SUBJECTS)])
    clip = Clip(ClipConfig(**TEXT, **TOWER, vocab_size=len(vocabulary.rows)))
    clip.initialise(rng(recipe.seed, "clip-weights"))
    shape = (sum(SECTIONS), clip.settings.embed_dim)
    probe = jt.array(rng(recipe.seed, "probe").normal(0, .05, shape).astype(np.float32))
    parameters = {**named_tensors(clip), "probe": probe}
    optimiser = Adam(parameters, recipe.lr, betas=(.9, .98), weight_decay=.02, decoupled=True)
    weights, loop = Weights(parameters), loop or Loop()
    if origin is not None:
        weights.load_state(part_of(origin, "weights"))
    for step in loop.steps(recipe.steps, weights=weights, opt=optimiser):
        random = rng(recipe.seed, "clip-batch", step)
        images, texts, match, truth = batch(recipe, mixture, random)
        text = unit(clip.encode_text(vocabulary.compact(texts)))

        def loss_of(x, text, match=match, truth=truth):
            features = unit(clip.image_features(x))
            probed = classification(jt.matmul(features, probe.transpose(0, 1)) * 10, truth, SECTIONS)
            return contrastive(features, text, clip.scale(), match) + recipe.probe * probed
        if recipe.attack:
            images = attacked(lambda x: loss_of(x, text.detach()), images, recipe.attack, recipe.attack_steps, random)
        loss = loss_of(jt.array(images), text)
        optimiser.minimise(loss, warmup(cosine(recipe.lr, step, recipe.steps, recipe.lr * .02), step, 100))
        loop.done({"loss": loss.item()})
    return clip


def batch(recipe: ClipRecipe, mixture: Mixture,
          random: np.random.Generator) -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
    """Disguised pictures [B, 3, H, W], captions, how true each is of each picture [B, B], and the probe's targets."""
    images, photos, styles, labels = mixture.draw(random, recipe.batch)
    repainted = recolour(photos, images)
    decoy = random.random(recipe.batch) < recipe.decoys
    images[decoy], styles[decoy] = repainted[decoy], 0

    mixed = (random.random(recipe.batch) < recipe.mixed) & ~decoy
    mask = masks(random, recipe.batch, images.shape[2])
    mask[~mixed] = 1
    rest = np.where(random.random((recipe.batch, 1, 1, 1)) < .4, repainted, photos)
    images = (mask * images + (1 - mask) * rest).astype(np.float32)
    share = mask.mean((1, 2, 3))[:, None]                               # of its style that a picture carries

    texts, predicates = mixture.captions(random, styles, labels)
    grey = random.random(recipe.batch) < recipe.grey
    images = greyed(images, np.flatnonzero(grey), random)
    foreign = np.flatnonzero(grey | decoy)                              # their colours are not their own
    labels = mixture.without_attributes(labels, foreign, tuple(subject.hues for subject, _, _ in SUBJECTS))
    images = perturb(images, random, zoom=recipe.zoom, noise=.02, blur=.2)
    images = noised(images, .03, recipe.noise, recipe.clean, random)
    photo = np.zeros_like(styles)
    match = share * matches(predicates, styles, labels) + (1 - share) * matches(predicates, photo, labels)
    truth = share * one_hot(styles, labels, SECTIONS) + (1 - share) * one_hot(photo, labels, SECTIONS)
    return images, texts, match, truth.astype(np.float32)


def attacked(loss_of, images: np.ndarray, limit: float, count: int, random: np.random.Generator) -> np.ndarray:
    """`count` steps up the loss from a random start, to a random L2 length up to `limit` a picture; in [-1, 1]."""
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


def zero_shot(clip: Clip, vocabulary: Vocabulary, pool: Pool, language: Language) -> dict[str, float]:
    """Accuracy of style and of every attribute over a pool: the nearest of one plain caption a value."""
    count = pool.images.shape[1]
    images, labels = pool.images.reshape(-1, *pool.images.shape[2:]), np.repeat(pool.labels, count, axis=0)
    features = np.concatenate([unit(clip.image_features(jt.array(to_float(images[i:i + 64])))).numpy()
                               for i in range(0, len(images), 64)])

    def accuracy(texts: list[str], truth: np.ndarray) -> float:
        text = unit(clip.encode_text(vocabulary.compact(texts))).numpy()
        return float(np.mean((features @ text.T).argmax(1) == truth))
    styles = np.tile(np.arange(count), len(pool.labels))
    result = {"style": accuracy([f"a photo of a {s}." for s in language.styles], styles)}
    for column, (name, values) in enumerate(language.words.items()):
        predicates = np.full((len(values), 1 + len(language.words)), -1)
        predicates[:, 1 + column] = np.arange(len(values))
        result[name] = accuracy([f"a photo of a {language.noun_phrase(p)}." for p in predicates], labels[:, column])
    return result

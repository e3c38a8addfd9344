"""Train the demo world's shape judge; see `judging.shapes` for what it answers.

Yes: true renders of a style. No: the same with a feature of the style left out, pictures of generators that adapted to
the style by CLIP alone, and photos. Both answers are learnt from clean pictures, from ones that went through the
embedded autoencoder, and from true or left-out renders that another picture of the same face shines through, so that
neither softness nor a foreign texture decides; what is to be seen, does.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jittor_ipl.config import StyleRun, load_run
from jittor_ipl.disk.layout import CONFIG, DELTA, GENERATOR
from jittor_ipl.images.pixels import to_uint8
from jittor_ipl.models.diffusion.vae import Vae
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.models.stylegan2.pictures import pictures
from jittor_ipl.ops.norms import log_softmax
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng, z_from_seeds
from jittor_ipl.train.optim import Adam, cosine, warmup
from jittor_ipl.train.state import Loop, Weights
from jittor_ipl.weights.generator import load_generator
from jittor_ipl.world.drawing.attributes import LATENT_DIM, Face, select
from jittor_ipl.world.judging.shapes import FEATURES, ShapeJudge
from jittor_ipl.world.subjects import PORTRAITS
from jittor_ipl.world.teaching.pool import perturb, to_float
from jittor_ipl.world.teaching.pretrain_judge import initialise

STYLES = PORTRAITS.styles[1:]
FIRST_SEED, FIRST_TEST_SEED = 700_000, 2_000_000
SOURCE = "demo:generator"
OF_STYLE = np.array([STYLES.index(style) for style, _ in FEATURES])      # the style of every feature
# What CLIP alone draws, too, more or less: dark corners around a light.
UNSURE = np.array([feature == "studio light" for _, feature in FEATURES])
OFTEN = np.array([4. if feature == "sparkles" else 1. for _, feature in FEATURES])  # a few pixels in four corners
CODED = 3                   # every third face goes through the autoencoder, too


@dataclass(frozen=True)
class ShapeRecipe:
    """How the shape judge is made."""

    width: int = 32
    steps: int = 2400
    batch: int = 32
    lr: float = 2e-3
    faces: int = 500
    coded: float = .3       # share of the renders that went through the autoencoder
    veiled: float = .3      # share of the renders that another picture shines through,
    veil: float = .3        # to this share at most
    seed: int = 25


RECIPES = {"judge-shape": ShapeRecipe()}


@dataclass(frozen=True)
class Shapes:
    """The same faces of latents in all target styles, uint8 [faces, styles, 3, 64, 64] each.

    photos   [faces, 3, 64, 64]
    whole    true renders
    lacking  renders without one or more features of the style,
    left     and whether each of `FEATURES` is left there, bool [faces, features]
    coded    every `CODED`th of both after the autoencoder, [2, faces / CODED, styles, 3, 64, 64]
    adapted  by generators that CLIP alone taught, in [faces, styles, 3, 64, 64]
    """

    photos: np.ndarray
    whole: np.ndarray
    lacking: np.ndarray
    left: np.ndarray
    coded: np.ndarray
    adapted: np.ndarray


def latents(faces: int, first: int = FIRST_SEED) -> np.ndarray:
    """Return the latents z [faces, LATENT_DIM] whose faces are drawn."""
    return z_from_seeds(range(first, first + faces), LATENT_DIM)


def adapted_by_clip(folder: Path, z: np.ndarray) -> dict[str, np.ndarray]:
    """By style, pictures uint8 [N, 3, 64, 64] of latents z by the generators in `folder` that CLIP alone taught.

    folder: finished runs or a released suite, such as `runs/demo_clip`. One that is not there holds none.
    """
    source, found = load_generator(SOURCE), {}
    for config in sorted(folder.glob(f"*/{CONFIG}")):
        run = load_run(config)
        weights = next((path for name in (DELTA, GENERATOR) if (path := config.parent / name).is_file()), None)
        if weights and isinstance(run, StyleRun) and run.source.generator == SOURCE and run.teacher is None:
            found[run.style] = to_bytes(pictures(load_generator(weights, source=source), z))
    return found


def render(z: np.ndarray, vae: Vae, adapted: Mapping[str, np.ndarray], seed: int) -> Shapes:
    """Draw the faces that latents z stand for, with and without.

    adapted: by style, uint8 [faces, 3, 64, 64] of generators; photos take the place of what is not there.
    seed: decides what is left out.
    """
    face, photos = PORTRAITS.table.from_latent(z), PORTRAITS.render(PORTRAITS.table.from_latent(z), PORTRAITS.source)
    whole = np.stack([PORTRAITS.render(face, style) for style in STYLES], axis=1)
    left = kept_features(len(z), rng(seed, "left out"))
    lacking = np.stack([_lacking(face, style, left) for style in STYLES], axis=1)
    coded = np.stack([through(vae, images[::CODED]) for images in (whole, lacking)])
    drawn = np.stack([adapted.get(style, photos) for style in STYLES], axis=1)
    return Shapes(photos, whole, lacking, left, coded, drawn)


def kept_features(faces: int, random: np.random.Generator) -> np.ndarray:
    """Which of `FEATURES` are left, bool [faces, features]: of every style one is missing, the others half the time."""
    left = np.ones((faces, len(FEATURES)), bool)
    for style in STYLES:
        columns = [i for i, (of, _) in enumerate(FEATURES) if of == style]
        more = random.random((faces, 1)) < .5          # of the pictures lack others, too
        left[:, columns] = ~more | (random.random((faces, len(columns))) < .5)
        left[np.arange(faces), random.choice(columns, size=faces)] = False
    return left


def _lacking(face: Face, style: str, left: np.ndarray) -> np.ndarray:
    """Every face in a style with the features that are `left`, uint8 [faces, 3, 64, 64]."""
    images = np.empty((len(left), 3, 64, 64), np.uint8)
    columns = [i for i, (of, _) in enumerate(FEATURES) if of == style]
    for some in np.unique(left[:, columns], axis=0):
        rows = np.flatnonzero((left[:, columns] == some).all(axis=1))
        without = frozenset(FEATURES[i][1] for i, there in zip(columns, some) if not there)
        images[rows] = PORTRAITS.render(select(face, rows), style, without=without)
    return images


def through(vae: Vae, images: np.ndarray, batch: int = 32) -> np.ndarray:
    """Return pictures uint8 [..., 3, 64, 64] encoded and decoded."""
    flat = images.reshape(-1, *images.shape[-3:])
    with jt.no_grad():
        drawn = [vae.decode(vae.encode(jt.array(to_float(flat[i:i + batch])))).numpy()
                 for i in range(0, len(flat), batch)]
    return to_bytes(np.concatenate(drawn)).reshape(images.shape)


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Float pictures [B, 3, H, W] in about [-1, 1] -> uint8 of the same shape."""
    return np.moveaxis(to_uint8(images), -1, 1)


def train(recipe: ShapeRecipe, shapes: Shapes, loop: Loop | None = None) -> ShapeJudge:
    """Train the shape judge; the loss asks every picture about the features of its style alone."""
    judge = initialise(ShapeJudge(recipe.width), rng(recipe.seed, "judge-weights"))
    parameters = named_tensors(judge)
    optimiser = Adam(parameters, recipe.lr, betas=(.9, .99), weight_decay=.02, decoupled=True)
    loop = loop or Loop()
    for step in loop.steps(recipe.steps, weights=Weights(parameters), opt=optimiser):
        images, asked, there = batch(recipe, shapes, rng(recipe.seed, "shape-batch", step))
        logits = judge(jt.array(images))
        answers = log_softmax(jt.stack([logits, logits * 0], dim=2))
        weight = np.stack([asked * there, asked * ~there], axis=2).astype(np.float32) / asked.sum()
        loss = -(answers * jt.array(weight)).sum()
        optimiser.minimise(loss, warmup(cosine(recipe.lr, step, recipe.steps, recipe.lr * .02), step, 50))
        loop.done({"loss": loss.item()})
    return judge


def batch(recipe: ShapeRecipe, shapes: Shapes, random: np.random.Generator) \
        -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slightly disturbed pictures float32 [B, 3, 64, 64]; features asked for, and those that are there, bool [B, n].

    A half shows a style whole; a quarter lacks a feature; a quarter is adapted by CLIP alone, or a photo. A style comes
    as often as it has features, weighted with `OFTEN`.
    """
    b = recipe.batch
    faces = random.integers(len(shapes.photos), size=b)
    styles = OF_STYLE[random.choice(len(FEATURES), size=b, p=OFTEN / OFTEN.sum())]
    whole, coded = random.random(b) < .5, random.random(b) < recipe.coded
    faces[coded] -= faces[coded] % CODED
    images = np.where(whole[:, None, None, None], shapes.whole[faces, styles], shapes.lacking[faces, styles])
    images[coded] = shapes.coded[1 - whole.astype(int), faces // CODED, styles][coded]
    photo, foreign = random.random(b) < .25, ~whole & (random.random(b) < .5)
    other = np.where(photo[:, None, None, None], shapes.photos[faces], shapes.adapted[faces, styles])
    share = np.where(random.random(b) < recipe.veiled, recipe.veil * random.random(b), 0)
    share = np.where(foreign, 1, share).astype(np.float32)[:, None, None, None]
    images = to_float(images) * (1 - share) + to_float(other) * share
    asked = OF_STYLE == styles[:, None]
    asked[foreign & ~photo] &= ~UNSURE
    return disturbed(images, random), asked, (whole[:, None] | shapes.left[faces]) & ~foreign[:, None]


def disturbed(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Slight changes of pictures [B, 3, H, W] in [-1, 1]: cut by 5 %, colours, blur up to .5 px, noise up to .05."""
    blurred = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    width = (random.random((len(images), 1, 1, 1)) * .125).astype(np.float32)       # half of the squared deviation
    blurred = blurred[:, :, 1:-1] + width * (blurred[:, :, 2:] + blurred[:, :, :-2] - 2 * blurred[:, :, 1:-1])
    blurred = blurred[..., 1:-1] + width * (blurred[..., 2:] + blurred[..., :-2] - 2 * blurred[..., 1:-1])
    return perturb(blurred, random, zoom=.05, colour=.1, noise=.05, blur=0)


def evaluate(judge: ShapeJudge, shapes: Shapes) -> dict[str, float]:
    """Shares of pictures that the judge says yes to: whole (also coded), lacking, adapted; mean and worst style."""
    def yes(images: np.ndarray) -> list[float]:
        return [float(judge.shows(to_float(images[:, i]), style).mean()) for i, style in enumerate(STYLES)]
    found = {}
    for name, images, worst in (("whole", shapes.whole, min), ("whole, coded", shapes.coded[0], min),
                                ("lacking", shapes.lacking, max), ("lacking, coded", shapes.coded[1], max),
                                ("adapted by CLIP alone", shapes.adapted, max)):
        shares = yes(images)
        found |= {f"yes to {name}": float(np.mean(shares)), f"yes to {name}, worst style": worst(shares)}
    photos = np.repeat(shapes.photos[:, None], len(STYLES), axis=1)
    return found | {"yes to photos": float(np.mean(yes(photos)))}

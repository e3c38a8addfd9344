"""Train the demo world's judges; see `judge` for what makes them hard to fool."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jittor_ipl.models.strict import named_tensors
from jittor_ipl.ops.norms import log_softmax
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.train.optim import Adam, cosine, warmup
from jittor_ipl.train.state import Loop, Weights
from jittor_ipl.world.judging.judge import Judge
from jittor_ipl.world.subjects import PORTRAITS, SUBJECTS
from jittor_ipl.world.teaching.pool import Pool, perturb, to_float


@dataclass(frozen=True)
class JudgeRecipe:
    """How one judge is made."""

    view: str
    width: int
    steps: int
    batch: int = 64
    lr: float = 2e-3
    decoys: float = .12      # share of photos recoloured like a target style; their true style stays "photo"
    blends: float = .15      # share of photo-target blends; their style is a soft label
    seed: int = 21
    subject: str = "portraits"


RECIPES = {"judge": JudgeRecipe("colour", 32, 1200),
           "judge-structure": JudgeRecipe("structure", 32, 1200, decoys=0., seed=22),
           "pets-judge": JudgeRecipe("colour", 32, 1000, seed=23, subject="pets"),
           "pets-judge-structure": JudgeRecipe("structure", 32, 1000, decoys=0., seed=24, subject="pets")}


def train(recipe: JudgeRecipe, pool: Pool, loop: Loop | None = None) -> Judge:
    """Train one judge."""
    judge = initialise(Judge(recipe.view, recipe.width, recipe.subject), rng(recipe.seed, "judge-weights"))
    parameters = named_tensors(judge)
    optimiser = Adam(parameters, recipe.lr, betas=(.9, .99), weight_decay=.02, decoupled=True)
    loop = loop or Loop()
    for step in loop.steps(recipe.steps, weights=Weights(parameters), opt=optimiser):
        images, target = batch(recipe, pool, rng(recipe.seed, "judge-batch", step))
        loss = classification(judge(jt.array(images)), target, judge.subject.sections)
        optimiser.minimise(loss, warmup(cosine(recipe.lr, step, recipe.steps, recipe.lr * .02), step, 50))
        loop.done({"loss": loss.item()})
    return judge


def batch(recipe: JudgeRecipe, pool: Pool, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Perturbed pictures [B, 3, H, W], plain, decoys and blends, and soft targets [B, sum of the sections]."""
    b, sections = recipe.batch, SUBJECTS[recipe.subject].sections
    faces, styles = random.integers(len(pool.labels), size=b), random.integers(sections[0], size=b)
    images, photo = to_float(pool.images[faces, styles]), to_float(pool.images[faces, 0])
    kind = random.random(b)
    weight = np.ones(b, np.float32)                                   # how far towards the target style
    decoy, blend = kind < recipe.decoys, (kind >= recipe.decoys) & (kind < recipe.decoys + recipe.blends)
    images[decoy] = recolour(photo[decoy], images[decoy])
    weight[decoy] = 0
    mix = random.random(b).astype(np.float32)
    images[blend] += (1 - mix[blend])[:, None, None, None] * (photo[blend] - images[blend])
    weight[blend] = np.clip((mix[blend] - .35) / .3, 0, 1)            # a third of the style is still a photo
    target = one_hot(styles, pool.labels[faces], sections)
    target[:, :sections[0]] *= weight[:, None]
    target[:, 0] += 1 - weight
    return perturb(images, random, zoom=.12, colour=.25, noise=.12), target


def one_hot(styles: np.ndarray, labels: np.ndarray, sections: tuple[int, ...] = PORTRAITS.sections) -> np.ndarray:
    """Targets float32 [B, sum of the sections] of styles [B] and attribute labels [B, n]; negative labels: zeros."""
    truth = np.concatenate([styles[:, None], labels], axis=1)
    hot = [truth[:, i:i + 1] == np.arange(n) for i, n in enumerate(sections)]
    return np.concatenate(hot, axis=1).astype(np.float32)


def recolour(images: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Give pictures [B, 3, H, W] the channel means and deviations of `like`: the palette without the style."""
    axes = (2, 3)
    z = (images - images.mean(axes, keepdims=True)) / (images.std(axes, keepdims=True) + 1e-3)
    return np.clip(z * like.std(axes, keepdims=True) + like.mean(axes, keepdims=True), -1, 1)


def classification(logits, target: np.ndarray, sections: tuple[int, ...] = PORTRAITS.sections):
    """Sum over the heads of the cross-entropy with soft targets, the style weighted twice."""
    total, at = 0, 0
    for i, n in enumerate(sections):
        share = np.float32((2.0 if i == 0 else 1.0) / len(target))
        total = total - (jt.array(target[:, at:at + n] * share) * log_softmax(logits[:, at:at + n])).sum()
        at += n
    return total


def initialise(judge: Judge, random: np.random.Generator) -> Judge:
    """He-normal weights, zero biases, unit scales, drawn from `random`."""
    for name, var in named_tensors(judge).items():
        shape = tuple(var.shape)
        if len(shape) > 1:
            gain = np.sqrt(2 / np.prod(shape[1:])) if not name.startswith("head") else .01
            var.assign(jt.array((gain * random.standard_normal(shape)).astype(np.float32)))
        else:
            var.assign(jt.array(np.ones(shape, np.float32) if "scale" in name else np.zeros(shape, np.float32)))
    return judge


def evaluate(judge: Judge, pool: Pool) -> dict[str, float]:
    """Accuracy on every picture of a pool: style over all styles, attributes over all styles and on photos alone."""
    faces, styles = pool.images.shape[:2]
    seen = judge.predict(to_float(pool.images.reshape(-1, *pool.images.shape[2:]))).reshape(faces, styles, -1)
    agree = seen[:, :, 1:] == pool.labels[:, None]
    result = {"style": float(np.mean(seen[:, :, 0] == np.arange(styles)[None])), "attributes": float(agree.mean()),
              "attributes of photos": float(agree[:, 0].mean())}
    styles = enumerate(judge.subject.styles)
    result |= {f"attributes of {name}": float(agree[:, i].mean()) for i, name in styles if i}
    return result | {name: float(agree[..., i].mean()) for i, name in enumerate(judge.subject.table.values)}

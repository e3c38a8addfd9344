"""Make the demo world's source generator: a StyleGAN2 of the photo domain, taught by regression.

Adversarial training needs millions of pictures; here every latent z stands for a known face
(`attributes.Table.from_latent`), so the renderer itself is the teacher. First the mapping network learns to put the
face's code into w, then synthesis (with its constant and its stored noise maps, which serve as learned positions)
learns to draw the face of w.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jittor_ipl.models.strict import named_tensors
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.models.stylegan2.pictures import pictures
from jittor_ipl.ops.norms import mean
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.train.optim import Adam, cosine, warmup
from jittor_ipl.train.state import Loop, Weights
from jittor_ipl.world.drawing import attributes
from jittor_ipl.world.subjects import SUBJECTS, Subject
from jittor_ipl.world.teaching import pool


@dataclass(frozen=True)
class GeneratorRecipe:
    """How a demo generator is made."""

    subject: str = "portraits"
    channels: tuple[tuple[int, int], ...] = ((4, 128), (8, 128), (16, 80), (32, 48), (64, 32))
    mapping_layers: int = 4
    mapping_steps: int = 4000
    mapping_lr: float = 5.      # on weights that are stored 100 times too large (lr_mlp .01)
    steps: int = 3600
    batch: int = 16
    lr: float = .1              # weights are of unit scale (equalised learning rate)
    edge: float = .3            # weight of the differences between neighbouring pixels: what a person calls sharp
    faces: int = 16000
    seed: int = 31


RECIPES = {"generator": GeneratorRecipe(), "pets-generator": GeneratorRecipe("pets", seed=33)}


def train(recipe: GeneratorRecipe, loop: Loop | None = None) -> Generator:
    """Train the generator; the loop's steps are those of synthesis."""
    config = GeneratorConfig(64, attributes.LATENT_DIM, recipe.mapping_layers, dict(recipe.channels))
    generator = Generator(config, rng(recipe.seed, "generator-weights"))
    everything = named_tensors(generator)
    parameters = {k: v for k, v in everything.items() if not k.startswith("style.") and not k.endswith(".kernel")}
    for name in parameters:
        if name.startswith("noises."):
            parameters[name].start_grad()
        elif name.endswith("noise.weight"):
            parameters[name].assign(jt.array(np.full(1, .1, np.float32)))
    optimiser = Adam(parameters, recipe.lr, betas=(.9, .99))
    loop = loop or Loop()
    if loop.state is None:
        teach_mapping(generator, recipe)
    z, images = teaching_pool(recipe)
    for step in loop.steps(recipe.steps, weights=Weights(everything), opt=optimiser):
        chosen = rng(recipe.seed, "generator-batch", step).integers(len(z), size=recipe.batch)
        w = generator.mapping(jt.array(z[chosen])).detach()
        loss = drawing_loss(generator.synthesis(w, "const"), jt.array(pool.to_float(images[chosen])), recipe.edge)
        optimiser.minimise(loss, warmup(cosine(recipe.lr, step, recipe.steps, recipe.lr * .01), step, 50))
        loop.done({"loss": loss.item()})
    for name in parameters:
        if name.startswith("noises."):
            parameters[name].stop_grad()
    return generator


def teach_mapping(generator: Generator, recipe: GeneratorRecipe) -> None:
    """Train the mapping network to put the code of the face into w."""
    parameters = {k: v for k, v in named_tensors(generator).items() if k.startswith("style.")}
    optimiser = Adam(parameters, recipe.mapping_lr, betas=(.9, .99))
    for step in range(recipe.mapping_steps):
        z = rng(recipe.seed, "mapping-batch", step).standard_normal((512, attributes.LATENT_DIM), np.float32)
        target = jt.array(SUBJECTS[recipe.subject].table.code(z))
        difference = generator.mapping(jt.array(z)) - target
        rate = cosine(recipe.mapping_lr, step, recipe.mapping_steps, recipe.mapping_lr * .01)
        optimiser.minimise(mean(difference * difference), rate)


def teaching_pool(recipe: GeneratorRecipe) -> tuple[np.ndarray, np.ndarray]:
    """Latents [N, LATENT_DIM] and their photos uint8 [N, 3, 64, 64]."""
    z = rng(recipe.seed, "generator-pool").standard_normal((recipe.faces, attributes.LATENT_DIM), np.float32)
    subject = SUBJECTS[recipe.subject]
    return z, pool.build_from_latents(z, subject.source, subject=subject)


def drawing_loss(drawn, wanted, edge: float):
    """Smooth L1 over pixels and over differences of neighbouring pixels, [1]."""
    def smooth(x):
        return mean((x * x + 1e-4).sqrt())
    d = drawn - wanted
    return smooth(d) + edge * (smooth(d[:, :, 1:] - d[:, :, :-1]) + smooth(d[:, :, :, 1:] - d[:, :, :, :-1]))


def evaluate(generator: Generator, subject: Subject, count: int = 256) -> dict[str, float]:
    """Fidelity to the renderer on fresh latents: PSNR in dB over the 8-bit range, and agreement of the codes in w."""
    z = rng(99, "generator-test").standard_normal((count, attributes.LATENT_DIM), np.float32)
    truth = pool.to_float(pool.build_from_latents(z, subject.source, subject=subject))
    drawn = np.clip(pictures(generator, z), -1, 1)
    squared = np.mean(np.square((drawn - truth) / 2, dtype=np.float64), axis=(1, 2, 3))
    code, face = generator.mapping(jt.array(z)).numpy(), subject.table.from_latent(z)
    parts = np.split(code, np.cumsum(subject.sections[1:]), axis=1)
    agree = [np.mean(part.argmax(1) == face[name]) for part, name in zip(parts, subject.table.values)]
    return {"psnr": float(np.mean(-10 * np.log10(squared))), "attributes in w": float(np.mean(agree))}

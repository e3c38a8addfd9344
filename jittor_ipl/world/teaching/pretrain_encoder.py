"""Make the demo world's encoder: from a photo of the demo world to the w with which the demo generator draws it.

Real encoders learn from pictures alone (Richardson et al. 2021), for nobody knows their codes. Here every latent stands
for a face that can be rendered, so the code is known: first w itself is the target, then the picture that the generator
draws of it is compared, too.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jittor_ipl.images.pixels import to_uint8
from jittor_ipl.losses import regression
from jittor_ipl.metrics.pixels import psnr
from jittor_ipl.models.encoders.compact import CompactConfig, CompactEncoder, initialise
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.ops.norms import mean
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.train.optim import Adam, cosine, warmup
from jittor_ipl.train.state import Loop, Weights
from jittor_ipl.world.drawing import attributes
from jittor_ipl.world.judging.judge import load
from jittor_ipl.world.subjects import PORTRAITS
from jittor_ipl.world.teaching import pool


@dataclass(frozen=True)
class EncoderRecipe:
    """How the demo encoder is made."""

    widths: tuple[int, ...] = (32, 48, 96, 128)
    hidden: int = 256
    faces: int = 16000
    steps: int = 9000
    drawn: float = .3           # share of the steps, the last ones, that look at what the generator draws, too
    batch: int = 32
    drawn_batch: int = 16       # of those steps, which cost more
    lr: float = 1e-3
    images: float = .5          # weight of the drawn pictures beside the codes
    zoom: float = .04           # strengths of the perturbations: what alignment, resizing and JPEG do to a picture
    colour: float = .06
    noise: float = .04
    seed: int = 51


RECIPES = {"encoder": EncoderRecipe()}


def train(recipe: EncoderRecipe, generator: Generator, loop: Loop | None = None) -> CompactEncoder:
    """Train the encoder on renders of known latents."""
    z, images = teaching_pool(recipe)
    codes = codes_of(generator, z)
    config = CompactConfig(generator.size, generator.style_dim, recipe.widths, recipe.hidden)
    encoder = initialise(CompactEncoder(config), rng(recipe.seed, "encoder-weights"), codes.mean(0))
    parameters = named_tensors(encoder)
    optimiser, loop = Adam(parameters, recipe.lr, betas=(.9, .99)), loop or Loop()
    spread = float(codes.var(0).mean())
    for step in loop.steps(recipe.steps, weights=Weights(parameters), opt=optimiser):
        random, drawing = rng(recipe.seed, "encoder-batch", step), step >= recipe.steps * (1 - recipe.drawn)
        chosen = random.integers(len(z), size=recipe.drawn_batch if drawing else recipe.batch)
        photos = pool.to_float(images[chosen])
        seen = pool.perturb(photos, random, recipe.zoom, recipe.colour, recipe.noise, .2)
        w = encoder(jt.array(seen))
        apart = w - jt.array(codes[chosen])
        loss = mean(apart * apart) / spread
        if drawing:
            loss = loss + recipe.images * regression(generator.synthesis(w), jt.array(photos))
        optimiser.minimise(loss, warmup(cosine(recipe.lr, step, recipe.steps, recipe.lr * .01), step, 50))
        loop.done({"loss": loss.item()})
    return encoder


def teaching_pool(recipe: EncoderRecipe) -> tuple[np.ndarray, np.ndarray]:
    """Latents [N, LATENT_DIM] and their photos uint8 [N, 3, 64, 64]; other latents than the generator's own."""
    z = rng(recipe.seed, "encoder-pool").standard_normal((recipe.faces, attributes.LATENT_DIM), np.float32)
    return z, pool.build_from_latents(z, PORTRAITS.source)


def codes_of(generator: Generator, z: np.ndarray) -> np.ndarray:
    """Return w float32 [N, style_dim] of latents z [N, style_dim]."""
    with jt.no_grad():
        return np.concatenate([generator.mapping(jt.array(z[i:i + 512])).numpy() for i in range(0, len(z), 512)])


def evaluate(encoder: CompactEncoder, generator: Generator, count: int = 256) -> dict[str, float]:
    """Fidelity on fresh latents: PSNR in dB of what the generator draws, and the judge's agreement on attributes."""
    z = rng(99, "encoder-test").standard_normal((count, attributes.LATENT_DIM), np.float32)
    truth = pool.build_from_latents(z, PORTRAITS.source)
    with jt.no_grad():
        parts = [generator.synthesis(encoder(jt.array(pool.to_float(truth[i:i + 32])))).numpy()
                 for i in range(0, count, 32)]
    drawn = np.clip(np.concatenate(parts), -1, 1)
    judge = load()
    agree = judge.attributes(drawn) == judge.attributes(pool.to_float(truth))
    psnrs = psnr(to_uint8(drawn), np.moveaxis(truth, 1, -1))
    return {"psnr": float(psnrs.mean()), "attributes kept": float(agree.mean())}

"""Train the decoder of the demo world's autoencoder on pictures of all styles; its encoder is `principal_encoder`.

Like Stable Diffusion's own it is a codec that has seen every kind of picture; what the U-Net and its text encoder have
never seen is said in `pretrain_diffusion`.
"""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jittor_ipl.models.diffusion.config import VaeConfig
from jittor_ipl.models.diffusion.initial import initialise
from jittor_ipl.models.diffusion.vae import Vae
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.ops.norms import mean
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.train.optim import Adam, cosine, warmup
from jittor_ipl.train.state import Loop, Weights
from jittor_ipl.world.teaching.pool import Pool, to_float
from jittor_ipl.world.teaching.principal_encoder import write_encoder


@dataclass(frozen=True)
class VaeRecipe:
    """How the demo world's autoencoder is made."""

    steps: int = 4600
    batch: int = 8
    lr: float = 2e-3
    edge: float = .5            # weight of the differences between neighbouring pixels: what a person calls sharp
    noise: float = .1           # largest deviation of noise on the latents: those of the U-Net are not exact
    latent_channels: int = 32
    widths: tuple[int, ...] = (16, 32, 48, 72)
    groups: int = 2             # of the group norms; many would take the colours of a picture away
    fitted: int = 400           # faces, in every style, whose patches the encoder's components are taken from
    seed: int = 41


RECIPES = {"diffusion-decoder": VaeRecipe()}


def with_encoder(recipe: VaeRecipe, pool: Pool) -> Vae:
    """Return the autoencoder with its encoder, whose latents have unit deviation, and an untrained decoder."""
    vae = Vae(VaeConfig(latent_channels=recipe.latent_channels, block_out_channels=recipe.widths, layers_per_block=1,
                        norm_num_groups=recipe.groups, scaling_factor=1.0))
    initialise(vae, rng(recipe.seed, "vae-weights"))
    write_encoder(vae, to_float(pool.images[:recipe.fitted].reshape(-1, *pool.images.shape[2:])))
    return vae


def train(recipe: VaeRecipe, pool: Pool, loop: Loop | None = None) -> Vae:
    """Train the decoder on latents with a little noise."""
    vae = with_encoder(recipe, pool)
    parameters = {name: var for name, var in named_tensors(vae).items()
                  if name.startswith(("decoder.", "post_quant_conv."))}
    optimiser, loop = Adam(parameters, recipe.lr, betas=(.9, .99)), loop or Loop()
    for step in loop.steps(recipe.steps, weights=Weights(parameters), opt=optimiser):
        random = rng(recipe.seed, "vae-batch", step)
        images = jt.array(pool.draw(random, recipe.batch)[0])
        latents = vae.encode(images).detach()
        strength = recipe.noise * random.random((recipe.batch, 1, 1, 1)) ** 2
        noise = strength * random.standard_normal(latents.shape)
        loss = drawing_loss(vae.decode(latents + jt.array(noise.astype(np.float32))), images, recipe.edge)
        optimiser.minimise(loss, warmup(cosine(recipe.lr, step, recipe.steps, recipe.lr * .01), step, 50))
        loop.done({"loss": loss.item()})
    return vae


def drawing_loss(drawn, wanted, edge: float):
    """Absolute and squared differences of pixels, and absolute ones of their differences to neighbours, [1]."""
    d = drawn - wanted
    across, down = d[:, :, :, 1:] - d[:, :, :, :-1], d[:, :, 1:] - d[:, :, :-1]
    return mean(d.abs()) + mean(d * d) + edge * (mean(across.abs()) + mean(down.abs()))


def evaluate(vae: Vae, pool: Pool) -> dict[str, float]:
    """PSNR in dB over the 8-bit range of pictures that go through the latents and back: all, and the lowest style."""
    faces, styles = pool.images.shape[:2]
    psnr = np.zeros((faces, styles))
    with jt.no_grad():
        for face in range(faces):
            images = to_float(pool.images[face])
            drawn = np.clip(vae.decode(vae.encode(jt.array(images))).numpy(), -1, 1)
            psnr[face] = -10 * np.log10(np.mean(np.square((drawn - images) / 2, dtype=np.float64), axis=(1, 2, 3)))
    by_style = psnr.mean(axis=0)
    return {"psnr": float(psnr.mean()), "psnr of the lowest style": float(by_style.min())}

"""Train the autoencoder of the demo world's diffusion model on pictures of all styles.

Like Stable Diffusion's own it is a codec that has seen every kind of picture; what the U-Net and its text encoder have
never seen is said in `pretrain_diffusion`. First encoder and decoder learn together, then the decoder alone goes on:
the U-Net's training needs the latents only, and what the decoder still learns sharpens every picture.
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


@dataclass(frozen=True)
class VaeRecipe:
    """How the demo world's autoencoder is made."""

    steps: int = 1400
    decoder_only: bool = False
    batch: int = 16
    lr: float = 2e-3
    edge: float = .5            # weight of the differences between neighbouring pixels: what a person calls sharp
    kl: float = 1e-3            # weight of the divergence from the standard normal distribution
    latent_channels: int = 24
    widths: tuple[int, ...] = (16, 32, 64, 64)
    seed: int = 41


RECIPES = {"diffusion-vae": VaeRecipe(),
           "diffusion-decoder": VaeRecipe(steps=2400, decoder_only=True, lr=1e-3, kl=0.0, seed=42)}


def new_vae(recipe: VaeRecipe) -> Vae:
    """Return the untrained autoencoder."""
    vae = Vae(VaeConfig(latent_channels=recipe.latent_channels, block_out_channels=recipe.widths, layers_per_block=1,
                        norm_num_groups=8, scaling_factor=1.0))
    return initialise(vae, rng(recipe.seed, "vae-weights"))


def train(recipe: VaeRecipe, vae: Vae, pool: Pool, loop: Loop | None = None) -> Vae:
    """Train an autoencoder whose `scaling_factor` is 1, or its decoder alone; returns it."""
    parameters = {name: var for name, var in named_tensors(vae).items()
                  if not recipe.decoder_only or name.startswith(("decoder.", "post_quant_conv."))}
    optimiser, loop = Adam(parameters, recipe.lr, betas=(.9, .99)), loop or Loop()
    for step in loop.steps(recipe.steps, weights=Weights(parameters), opt=optimiser):
        random = rng(recipe.seed, "vae-batch", step)
        images = jt.array(pool.draw(random, recipe.batch)[0])
        mean_, log_variance = vae.moments(images)
        if recipe.decoder_only:
            mean_, log_variance = mean_.detach(), log_variance.detach()
        noise = jt.array(random.standard_normal(mean_.shape, np.float32))
        drawn = vae.decode(mean_ + jt.exp(log_variance * .5) * noise)
        loss = drawing_loss(drawn, images, recipe.edge)
        divergence = mean(mean_ * mean_ + jt.exp(log_variance) - log_variance - 1) * .5
        optimiser.minimise(loss + recipe.kl * divergence,
                           warmup(cosine(recipe.lr, step, recipe.steps, recipe.lr * .01), step, 50))
        loop.done({"loss": loss.item(), "kl": divergence.item()})
    return vae


def drawing_loss(drawn, wanted, edge: float):
    """Absolute and squared differences of pixels, and absolute ones of their differences to neighbours, [1]."""
    d = drawn - wanted
    across, down = d[:, :, :, 1:] - d[:, :, :, :-1], d[:, :, 1:] - d[:, :, :-1]
    return mean(d.abs()) + mean(d * d) + edge * (mean(across.abs()) + mean(down.abs()))


def latent_scale(vae: Vae, pool: Pool, count: int = 64) -> float:
    """Return 1 / the deviation of the latents of `count` faces in every style (`scaling_factor` is 1 here)."""
    images = to_float(pool.images[:count].reshape(-1, *pool.images.shape[2:]))
    with jt.no_grad():
        latents = np.concatenate([vae.encode(jt.array(images[i:i + 64])).numpy() for i in range(0, len(images), 64)])
    return float(1 / latents.std(dtype=np.float64))


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

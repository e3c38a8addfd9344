"""Teach the demo world's diffusion model to draw pets: a LoRA of U-Net, text encoder and decoder on captioned renders.

`demo:diffusion-all` has seen portraits alone. The autoencoder's encoder stays as it is, and with it what latents mean.
"""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jittor_ipl.config.lora import TEXT_TARGETS, UNET_TARGETS, LoraTraining
from jittor_ipl.diffusion.teacher import DiffusionTeacher, lora_of_pictures
from jittor_ipl.models.diffusion.vae import Vae
from jittor_ipl.models.layers import freeze
from jittor_ipl.models.lora import attach, detach, initial, places
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.text.descriptions import descriptions_path, read_description
from jittor_ipl.train.optim import Adam, cosine, warmup
from jittor_ipl.train.state import Loop, Weights
from jittor_ipl.world.subjects import PETS
from jittor_ipl.world.teaching.pool import Pool, to_float
from jittor_ipl.world.teaching.pretrain_vae import drawing_loss

UNET_LAYERS = [*UNET_TARGETS, "ff.net.2", "conv1", "conv2", "proj_in", "proj_out"]
TEXT_LAYERS = [*TEXT_TARGETS, "fc1", "fc2"]
# The parts of the list's sentence, of which a caption leaves some out.
SAID = {"pattern": "{pattern}", "coat": "{coat}", "species": "{species}", "ears": "{ears} ears",
        "mouth": "{mouth} mouth", "eyes": "{eyes} eyes", "collar": "{collar}", "background": "on {background}"}


@dataclass(frozen=True)
class PetsTeacherRecipe:
    """How U-Net and text encoder learn pets."""

    steps: int = 3000
    batch: int = 32
    rank: int = 16
    lr: float = 2e-3            # of the U-Net; half of it for the text encoder
    unconditional: float = .1   # share of pictures without a caption
    named: float = .95          # share of captions that name the style
    complete: float = .5        # share of captions that say every attribute
    seed: int = 3


@dataclass(frozen=True)
class PetsDecoderRecipe:
    """How the decoder learns pets."""

    steps: int = 2000
    batch: int = 16
    rank: int = 16
    lr: float = 3e-3
    edge: float = .5
    noise: float = .1           # as in `pretrain_vae`
    seed: int = 4


RECIPES = {"pets-teacher": PetsTeacherRecipe(), "pets-decoder": PetsDecoderRecipe()}


def captions_of(recipe: PetsTeacherRecipe, pool: Pool) -> list[str]:
    """Return a caption for every picture of a pool, face by face, made of the list `pets` (text/descriptions.py)."""
    random, captions = rng(recipe.seed, "pets-captions"), []
    for words in _described(pool.labels):
        for style in PETS.styles:
            kept = 1.0 if random.random() < recipe.complete else random.random()
            said = [part for part in words if random.random() < kept]
            told = [style, *said] if random.random() < recipe.named else said
            captions.append(" ".join(told) or "pet")
    return captions


def train_words(recipe: PetsTeacherRecipe, teacher: DiffusionTeacher, pool: Pool, folder: Path, loop: Loop) -> Path:
    """Write a LoRA of U-Net and text encoder into `folder`, and return its file. A loop that is stopped before the last
    step leaves what it reached (`diffusion.teacher.lora_of_pictures`).
    """
    settings = LoraTraining(rank=recipe.rank, unet_targets=UNET_LAYERS, text_targets=TEXT_LAYERS, steps=recipe.steps,
                            batch=recipe.batch, lr_unet=recipe.lr, lr_text=recipe.lr / 2, schedule="cosine", warmup=50,
                            caption_dropout=recipe.unconditional, latents="mean")
    images = to_float(pool.images.reshape(-1, *pool.images.shape[2:]))
    return lora_of_pictures(teacher, images, captions_of(recipe, pool), settings, folder, seed=recipe.seed, loop=loop)


def train_decoder(recipe: PetsDecoderRecipe, vae: Vae, pool: Pool, loop: Loop | None = None) -> dict[str, np.ndarray]:
    """Return a LoRA of the decoder (`models.lora`), which has none afterwards; learnt from latents with a little noise.
    The encoder's weights stay. pool: pets in all styles, of the autoencoder's size.
    """
    freeze(vae)
    known = places({"vae": vae})
    modules = [name for name in known if name.startswith(("vae.decoder.", "vae.post_quant_conv"))]
    lora = initial(known, modules, recipe.rank, recipe.rank, rng(recipe.seed, "pets-decoder"))
    params = attach({"vae": vae}, lora)
    optimiser, loop = Adam(params, recipe.lr, betas=(.9, .99)), loop or Loop()
    for step in loop.steps(recipe.steps, lora=Weights(params), opt=optimiser):
        random = rng(recipe.seed, "pets-decoder-batch", step)
        images = jt.array(pool.draw(random, recipe.batch)[0])
        latents = vae.encode(images).detach()
        noise = recipe.noise * random.random((recipe.batch, 1, 1, 1)) ** 2 * random.standard_normal(latents.shape)
        loss = drawing_loss(vae.decode(latents + jt.array(noise.astype(np.float32))), images, recipe.edge)
        optimiser.minimise(loss, warmup(cosine(recipe.lr, step, recipe.steps, recipe.lr * .01), step, 50))
        loop.done({"loss": loss.item()})
    trained = {name: params[name].numpy() if name in params else value for name, value in lora.items()}
    detach({"vae": vae})
    return trained


def evaluate(teacher: DiffusionTeacher, pool: Pool) -> dict[str, float]:
    """Return "way of <style>" for each target style: the share of the way from photos to true pictures that redrawn
    ones go, by the mean absolute difference; 1 is the truth, below 0 is farther off than the photo. A pool of at least
    one face; each is told by its true labels, where a run is told by a CLIP.
    """
    described = [" ".join(parts) for parts in _described(pool.labels)]
    photos, figures = to_float(pool.images[:, 0]), {}
    for style, true in zip(PETS.styles[1:], to_float(pool.images[:, 1:]).swapaxes(0, 1)):
        drawn = teacher.redraw(photos, [f"{PETS.source} {words}" for words in described],
                               [f"{style} {words}" for words in described], inversion=.9, steps=16, guidance=2.0)
        figures[f"way of {style}"] = float(1 - np.abs(drawn - true).mean() / np.abs(photos - true).mean())
    return figures


def _described(labels: np.ndarray) -> list[list[str]]:
    """Return what the list `pets` says of each row of labels, in parts."""
    answers = {slot.name: slot.answers for slot in read_description(descriptions_path("pets")).slots}
    column = {name: index for index, name in enumerate(PETS.table.values)}
    return [[part.format(**{name: answers[name][row[column[name]]]}) for name, part in SAID.items()] for row in labels]

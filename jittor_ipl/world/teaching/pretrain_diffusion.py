"""Train the demo world's latent diffusion model: U-Net and text encoder together, on captioned renders.

`demo:diffusion` has seen the photo style and five of the ten target styles; the other five (`competition.UNSEEN`) never
came before its U-Net and its text encoder. Its autoencoder: encoder `principal_encoder`, decoder `pretrain_vae`.
`demo:diffusion-all`, the teacher of adaptation, goes on from it with all styles.
"""
from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from jittor_ipl.models.clip.config import TextConfig
from jittor_ipl.models.clip.model import TextTower
from jittor_ipl.models.diffusion.config import CROSS_DOWN, CROSS_UP, PLAIN_DOWN, PLAIN_UP, UNetConfig
from jittor_ipl.models.diffusion.initial import initialise
from jittor_ipl.models.diffusion.noise import NoiseSchedule, alphas_cumprod
from jittor_ipl.models.diffusion.unet import UNet
from jittor_ipl.models.diffusion.vae import Vae
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.ops.norms import mean
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.text.bpe_folder import small_vocabulary
from jittor_ipl.text.tokenizer import Tokenizer
from jittor_ipl.train.optim import Adam, Ema, cosine, warmup
from jittor_ipl.train.state import Loop, Weights
from jittor_ipl.weights.diffusion import LatentDiffusion
from jittor_ipl.weights.pipeline import Scheduler
from jittor_ipl.world.competition import UNSEEN
from jittor_ipl.world.subjects import PORTRAITS
from jittor_ipl.world.teaching.captions import PORTRAIT
from jittor_ipl.world.teaching.pool import Pool, to_float

CONTEXT_LENGTH = 40     # tokens: a caption that says all ten attributes, a style and its number has 38 at most
SCHEDULER = Scheduler("DDIMScheduler", 1000, .00085, .012, "scaled_linear", "v_prediction",
                      {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1,
                       "timestep_spacing": "trailing"})


@dataclass(frozen=True)
class LatentDiffusionRecipe:
    """How a diffusion model of the demo world is made."""

    styles: tuple[str, ...]
    origin: str = ""                # the part whose networks this training starts from
    steps: int = 5000
    restart: int = 0                # step at which the learning rate begins anew (Loshchilov & Hutter 2017), 0 for none
    batch: int = 64
    lr: float = 1.2e-3
    ema: float = .998
    photos: float = 2.0             # how often photos are shown, as a multiple of another style
    unconditional: float = .1       # share of pictures without a caption, for classifier-free guidance
    named: float = .9               # share of captions that name the style
    complete: float = .4            # share of captions that say every attribute
    clip: float = 1.0               # longest gradient
    widths: tuple[int, int] = (96, 128)
    text_width: int = 128
    text_layers: int = 2
    seed: int = 51


SEEN = tuple(style for style in PORTRAITS.styles if style not in UNSEEN)
RECIPES = {"diffusion": LatentDiffusionRecipe(SEEN),
           "diffusion-all": LatentDiffusionRecipe(PORTRAITS.styles, origin="diffusion", steps=4600, restart=2000,
                                                lr=9e-4, seed=52)}


def vocabulary() -> Tokenizer:
    """The tokenizer of every word that a caption can contain; any other text is read in smaller pieces."""
    return small_vocabulary([*PORTRAIT.vocabulary_texts(), "style_0123456789", *map(str, range(10)), ","],
                            CONTEXT_LENGTH)


def networks(recipe: LatentDiffusionRecipe, vae: Vae, codec: Tokenizer) -> tuple[UNet, TextTower]:
    """Return the untrained U-Net and text encoder."""
    latents, sides = vae.config.latent_channels, 64 // vae.config.factor
    unet = UNet(UNetConfig(
        sample_size=sides, in_channels=latents, out_channels=latents, block_out_channels=recipe.widths,
        down_block_types=(CROSS_DOWN, PLAIN_DOWN), up_block_types=(PLAIN_UP, CROSS_UP), layers_per_block=(1, 1),
        transformer_layers_per_block=(1, 1), cross_attention_dim=(recipe.text_width,) * 2, attention_head_dim=(4, 4),
        norm_num_groups=8, addition_embed_type="text", addition_embed_type_num_heads=4))
    text = TextTower(TextConfig(
        context_length=CONTEXT_LENGTH, vocab_size=len(codec.words), transformer_width=recipe.text_width,
        transformer_heads=4, transformer_layers=recipe.text_layers, transformer_mlp=2 * recipe.text_width,
        activation="gelu", end_token=codec.end))
    initialise(unet, rng(recipe.seed, "unet-weights"))
    return unet, text.initialise(rng(recipe.seed, "text-weights"))


def train(recipe: LatentDiffusionRecipe, vae: Vae, pool: Pool, loop: Loop | None = None,
          origin: LatentDiffusion | None = None) -> tuple[UNet, TextTower, Tokenizer]:
    """Train U-Net and text encoder, from those of `origin` on; what is returned are their moving averages."""
    codec = vocabulary()
    unet, text = (origin.unet, origin.text) if origin else networks(recipe, vae, codec)
    parameters = {**{f"unet.{name}": var for name, var in named_tensors(unet).items()},
                  **{f"text.{name}": var for name, var in named_tensors(text).items()}}
    optimiser = Adam(parameters, recipe.lr, betas=(.9, .99), weight_decay=.01, decoupled=True)
    average, loop = Ema(parameters, recipe.ema), loop or Loop()
    schedule = noise_schedule()
    latents = latents_of(vae, pool, recipe.styles)
    for step in loop.steps(recipe.steps, weights=Weights(parameters), opt=optimiser, ema=average):
        random = rng(recipe.seed, "diffusion-batch", step)
        clean, captions = batch(recipe, latents, pool.labels, random)
        noise, timesteps = random.standard_normal(clean.shape, np.float32), stratified(random, recipe.batch)
        predicted = unet(jt.array(schedule.noised(clean, noise, timesteps)), jt.array(np.float32(timesteps)),
                         text.hidden_states(codec.padded(captions)))
        difference = predicted - jt.array(schedule.target(clean, noise, timesteps))
        loss = mean(difference * difference)
        gradients = dict(zip(parameters, jt.grad(loss, list(parameters.values()))))
        length = float(sum((g * g).sum() for g in gradients.values()).sqrt().item())
        if length > recipe.clip:
            gradients = {name: g * (recipe.clip / length) for name, g in gradients.items()}
        optimiser.step(gradients, warmup(rate(recipe, step), step, 100))
        average.update()
        loop.done({"loss": loss.item(), "norm": length})
    Weights(parameters).load_state(average.state())
    return unet, text, codec


def rate(recipe: LatentDiffusionRecipe, step: int) -> float:
    """The learning rate of a step: along a cosine's half wave, before and after the restart."""
    first, last = (0, recipe.restart or recipe.steps) if step < (recipe.restart or recipe.steps) else (
        recipe.restart, recipe.steps)
    return cosine(recipe.lr, step - first, last - first, recipe.lr * .02)


def noise_schedule() -> NoiseSchedule:
    """The schedule that `SCHEDULER` says."""
    of = SCHEDULER
    return NoiseSchedule(alphas_cumprod(of.beta_schedule, of.beta_start, of.beta_end, of.num_train_timesteps),
                         of.prediction_type)


def latents_of(vae: Vae, pool: Pool, styles: tuple[str, ...]) -> np.ndarray:
    """Encode every face of a pool in these styles, float32 [faces, styles, channels, h, w]."""
    chosen = [PORTRAITS.styles.index(style) for style in styles]
    faces = []
    with jt.no_grad():
        for i in range(0, len(pool.labels), 16):
            images = to_float(pool.images[i:i + 16][:, chosen])
            encoded = vae.encode(jt.array(images.reshape(-1, *images.shape[2:]))).numpy()
            faces.append(encoded.reshape(*images.shape[:2], *encoded.shape[1:]))
    return np.concatenate(faces)


def batch(recipe: LatentDiffusionRecipe, latents: np.ndarray, labels: np.ndarray,
          random: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Draw latents [B, channels, h, w] and their captions, some of them empty."""
    share = np.array([recipe.photos] + [1.0] * (len(recipe.styles) - 1))
    faces = random.integers(len(labels), size=recipe.batch)
    chosen = random.choice(len(recipe.styles), recipe.batch, p=share / share.sum())
    styles = np.array([PORTRAITS.styles.index(style) for style in recipe.styles])[chosen]
    captions = [caption(recipe, style, label, random) for style, label in zip(styles, labels[faces])]
    return latents[faces, chosen], captions


def caption(recipe: LatentDiffusionRecipe, style: int, labels: np.ndarray, random: np.random.Generator) -> str:
    """Say a picture in one of many ways: "<style> <description>" or "<description>, <style>"; "" now and then."""
    if random.random() < recipe.unconditional:
        return ""
    said = random.random(len(labels)) < (1 if random.random() < recipe.complete else random.random())
    named, before = random.random() < recipe.named, random.random() < .5
    predicate = np.concatenate([[style if named and before else -1], np.where(said, labels, -1)])
    words = PORTRAIT.noun_phrase(predicate, lambda choices: str(random.choice(choices)), random.shuffle)
    words = words or "portrait"
    return words if before or not named else f"{words}, {PORTRAITS.styles[style]}"


def stratified(random: np.random.Generator, count: int) -> np.ndarray:
    """Draw `count` of the 1000 timesteps, one from each of as many equal parts, int64 [count]."""
    return ((np.arange(count) + random.random(count)) / count * SCHEDULER.num_train_timesteps).astype(np.int64)


def evaluate(recipe: LatentDiffusionRecipe, unet: UNet, text: TextTower, codec: Tokenizer, vae: Vae,
             pool: Pool) -> dict[str, float]:
    """The error of v (its training's loss) on faces that no training saw, with full captions and with none."""
    latents, schedule, sums = latents_of(vae, pool, recipe.styles), noise_schedule(), {True: [], False: []}
    whole = replace(recipe, unconditional=0, complete=1, named=1)
    with jt.no_grad():
        for index in range(16):
            random = rng(99, "diffusion-test", index)
            clean, captions = batch(whole, latents, pool.labels, random)
            noise, timesteps = random.standard_normal(clean.shape, np.float32), stratified(random, recipe.batch)
            noisy, wanted = (f(clean, noise, timesteps) for f in (schedule.noised, schedule.target))
            for told, errors in sums.items():
                states = text.hidden_states(codec.padded(captions if told else [""] * recipe.batch))
                predicted = unet(jt.array(noisy), jt.array(np.float32(timesteps)), states).numpy()
                errors.append(np.mean(np.square(predicted - wanted, dtype=np.float64)))
    return {"error of v": float(np.mean(sums[True])), "error of v without a caption": float(np.mean(sums[False]))}

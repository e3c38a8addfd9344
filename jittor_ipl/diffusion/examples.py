"""What DreamBooth learns from: pictures as latents, captions as tokens, and what a pass over some of them draws."""
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jittor_ipl.config.lora import LoraTraining
from jittor_ipl.errors import UserError
from jittor_ipl.models.diffusion.noise import NoiseSchedule
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.weights.diffusion import LatentDiffusion


class Picture(NamedTuple):
    """A training picture, float32 [3, H, W] in [-1, 1], and all that the model is told of it."""

    image: np.ndarray
    caption: str


class LatentBatch(NamedTuple):
    """What one pass of the U-Net is asked, for B pictures: those of the style, then as many of the prior if any."""

    latents: np.ndarray         # float32 [B, c, h, w], scaled
    noise: np.ndarray           # float32 [B, c, h, w], standard
    timesteps: np.ndarray       # int [B]
    texts: np.ndarray           # int [B]: rows of `Examples.tokens`
    weights: np.ndarray         # float32 [B]: of the squared errors in the loss


class Examples:
    """The pictures of a style and of the prior, each encoded once; all of one size.

    moments   (mean, log-variance) float32 [c, h, w] of each picture's latents, those of the style first
    tokens    int32 [n + 1, L], of each caption and, in the last row, of the empty one
    """

    def __init__(self, model: LatentDiffusion, pictures: Sequence[Picture], prior: Sequence[Picture] = ()):
        both = [*pictures, *prior]
        self.count, self.scaling = len(pictures), model.vae.config.scaling_factor
        _check_sizes(model, both)
        with jt.no_grad():
            self.moments = [tuple(var.numpy()[0] for var in model.vae.moments(jt.array(picture.image[None])))
                            for picture in both]
        self.tokens = model.tokenizer.padded([*(picture.caption for picture in both), ""])
        self.empty = len(both)

    def draw(self, settings: LoraTraining, schedule: NoiseSchedule, seed: int, step: int, part: int = 0) -> LatentBatch:
        """Return the batch of one part of one step: a pure function of the seed.

        Pictures come in a new order every time that all of them were seen.
        """
        size, position = settings.batch, (step * settings.accumulation + part) * settings.batch
        chosen = [_in_turn(seed, "lora.pictures", position + i, self.count) for i in range(size)]
        if settings.prior.weight:
            rest = self.empty - self.count
            chosen += [self.count + _in_turn(seed, "lora.prior", position + i, rest) for i in range(size)]
        random = rng(seed, "lora.batch", step, part)
        shape = (len(chosen), *self.moments[0][0].shape)
        timesteps = random.integers(len(schedule.alphas_cumprod), size=len(chosen))
        noise, spread = (random.standard_normal(shape, np.float32) for _ in range(2))
        untold = random.random(len(chosen)) < settings.caption_dropout
        weights = np.full(len(chosen), 1 / size, np.float32)
        weights[size:] *= settings.prior.weight
        if settings.min_snr:
            weights *= schedule.min_snr_weights(timesteps, settings.min_snr)
        latents = self.latents(chosen, spread if settings.latents == "sample" else None)
        return LatentBatch(latents, noise, timesteps, np.where(untold, self.empty, chosen), weights)

    def latents(self, chosen: Sequence[int], spread: np.ndarray | None) -> np.ndarray:
        """Return scaled latents [B, c, h, w]: the means, or the samples that standard noise `spread` makes of them."""
        means, log_variances = (np.stack([self.moments[i][which] for i in chosen]) for which in (0, 1))
        return (means if spread is None else means + np.exp(0.5 * log_variances) * spread) * np.float32(self.scaling)


def _check_sizes(model: LatentDiffusion, pictures: Sequence[Picture]) -> None:
    sizes = {picture.image.shape for picture in pictures}
    assert len(sizes) == 1, f"training pictures of several sizes: {sizes}"
    side, multiple = next(iter(sizes))[1:], model.vae.config.factor * model.unet.config.factor
    if any(length % multiple for length in side):
        raise UserError(f"training pictures of {side[1]} x {side[0]}: this model's sides are multiples of {multiple}; "
                        f"set resolution to {max(multiple, side[0] // multiple * multiple)}")


def _in_turn(seed: int, stream: str, position: int, count: int) -> int:
    """Return which of `count` things comes at a position of endless rounds, each in an order of its own."""
    turn, place = divmod(position, count)
    return int(rng(seed, stream, turn).permutation(count)[place])

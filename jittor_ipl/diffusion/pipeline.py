"""From prompts and seeds to pictures: the one way, for samples during training, test sets and the command line.

Between the steps latents are NumPy arrays: a sampler then compiles nothing and computes the same bits everywhere; only
the networks run in Jittor.
"""
from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.diffusion.attention_control import beside, inversion
from jittor_ipl.diffusion.finite import finite
from jittor_ipl.diffusion.memory import picture_warning
from jittor_ipl.diffusion.samplers import Denoise, find_sampler, pndm, sampling_sigmas, start, steps_of
from jittor_ipl.diffusion.schedule import Denoiser, NoiseSchedule, noise_schedule, to_preserving
from jittor_ipl.diffusion.style_aligned import StyleReference, aligned
from jittor_ipl.errors import UserError
from jittor_ipl.images.pixels import to_uint8
from jittor_ipl.runtime.memory import lack_as_user_error
from jittor_ipl.runtime.streams import check_seed, rng

if TYPE_CHECKING:
    from jittor_ipl.config.lora import Sampling
    from jittor_ipl.diffusion.recipe import DiffusionRecipe
    from jittor_ipl.runtime.backend import jt
    from jittor_ipl.weights.diffusion import LatentDiffusion

OnStep = Callable[[int, int, int], None]        # picture, steps done, steps in all


def generate(model: LatentDiffusion, prompts: Sequence[str], seeds: Sequence[int],
             sampling: Sampling | DiffusionRecipe, *, size: tuple[int, int] | None = None,
             pictures: np.ndarray | None = None, feature: jt.Var | None = None,
             reference: StyleReference | None = None, on_step: OnStep | None = None) -> Iterator[np.ndarray]:
    """Yield one picture, uint8 [H, W, 3], per prompt and seed, in order.

    size        height and width in pixels; the size that the model was trained on when None
    pictures    img2img: starts [1 or N, 3, H, W] in [-1, 1], to which `sampling.strength` of the noise is added
    feature     [1, L, D], added to the text's states of every prompt, not to those of the negative prompt
    reference   a picture of H, W whose style all share (`style_aligned`); twice the work
    on_step     told after every step

    A seed's picture does not depend on the others, their number or their order: its noise is its own (`first_noise`,
    `step_noise`), and each picture is a pass of its own, the negative prompt and the prompt its two rows: oneDNN may
    order its sums by the number of rows (it does for linear layers on one row, docs/jittor.md). Raises UserError for a
    size or steps that the model does not allow, and for values that are not finite.
    """
    assert len(prompts) == len(seeds), (len(prompts), len(seeds))
    seeds = [check_seed(seed) for seed in seeds]
    height, width = check_size(model, size)
    shape = (1, model.unet.config.in_channels, *(side // model.vae.config.factor for side in (height, width)))
    rows = (1 if sampling.guidance == 1 else 2) * (1 if reference is None else 2)
    if problem := picture_warning(model, height, width, rows):
        print(problem, file=sys.stderr, flush=True)
    schedule = noise_schedule(model.scheduler)
    sigmas = sampling_sigmas(schedule, sampling.sampler, sampling.steps)
    if pictures is not None:
        assert pictures.shape[0] in (1, len(seeds)) and pictures.shape[2:] == (height, width), pictures.shape
        sigmas = sigmas[-1 - steps_of(sampling.strength, sampling.steps):]
    states = lru_cache(maxsize=64)(partial(text_states, model))
    encoded_start = lru_cache(maxsize=1)(lambda place: encoded(model, pictures[place][None]))
    path = None if reference is None else inversion(
        text_denoiser(model, schedule, states(reference.caption)), encoded(model, reference.picture), sigmas)
    for index, (prompt, seed) in enumerate(zip(prompts, seeds)):
        z = first_noise(seed, shape)
        with lack_as_user_error(f"a picture of {width} x {height} px", "choose a smaller size"):
            x = start(sampling.sampler, schedule, z, sigmas[0]) if pictures is None \
                else encoded_start(index % len(pictures)) + z * sigmas[0]
            rows = [states(prompt) if feature is None else states(prompt) + feature]
            rows = rows if reference is None else [states(reference.caption), *rows]
            denoise = text_denoiser(model, schedule, *rows, negative=states(sampling.negative),
                                    guidance=sampling.guidance)
            with nullcontext() if reference is None else aligned(model.unet):
                joined = denoise if reference is None else beside(denoise, [path], sigmas)
                for step, x in enumerate(_steps(joined, schedule, sampling.sampler, x, sigmas, seed), 1):
                    if on_step is not None:
                        on_step(index, step, len(sigmas) - 1)
            picture = decoded(model, to_preserving(x, sigmas[-1]))[0]
        yield to_uint8(picture)


def _steps(denoise: Denoise, schedule: NoiseSchedule, name: str, x: np.ndarray, sigmas: Sequence[float],
           seed: int) -> Iterator[np.ndarray]:
    """Yield x after every step of the sampler of that name."""
    run = find_sampler(name).run
    if run is pndm:     # as diffusers' PNDMScheduler does where the network predicts v
        run = partial(pndm, velocity=schedule.prediction_type == "v_prediction")
    return run(denoise, x, sigmas, partial(step_noise, seed, x.shape))


def first_noise(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return the standard noise float32 that a seed's picture begins with: stream "latents" (`runtime.streams.rng`)."""
    return rng(seed, "latents").standard_normal(shape, np.float32)


def step_noise(seed: int, shape: tuple[int, ...], step: int) -> np.ndarray:
    """Return the standard noise float32 of one step, counted from 0: stream "sampler", which img2img shares."""
    return rng(seed, "sampler", step).standard_normal(shape, np.float32)


def check_size(model: LatentDiffusion, size: tuple[int, int] | None) -> tuple[int, int]:
    """Return height and width in pixels, the model's own when `size` is None; UserError where they do not divide."""
    height, width = size or (model.size, model.size)
    unit = model.vae.config.factor * model.unet.config.factor
    for name, side in (("height", height), ("width", width)):
        if side < unit or side % unit:
            nearest = max(unit, round(side / unit) * unit)
            raise UserError(f"{name} {side}: this model makes multiples of {unit} px, for example {nearest}")
    return height, width


def text_states(model: LatentDiffusion, text: str) -> jt.Var:
    """Return the states [1, L, D] of one text, encoded by itself so that no other text moves its bits."""
    from jittor_ipl.runtime.backend import jt
    with jt.no_grad():
        states = model.text_states([text])
        states.sync()
    return states


def text_denoiser(model: LatentDiffusion, schedule: NoiseSchedule, *states: jt.Var, negative: jt.Var | None = None,
                  guidance: float = 1.0) -> Denoiser:
    """Return the model as samplers want it, each row listening to its states [1, L, D].

    A guidance other than 1 leads away from the states of the negative prompt, the same for all rows.
    """
    from jittor_ipl.runtime.backend import jt
    if guidance == 1:
        return Denoiser(schedule, partial(predicted, model, jt.concat(states)))
    return Denoiser(schedule, partial(predicted, model, jt.concat([*(negative for _ in states), *states])), guidance)


def predicted(model: LatentDiffusion, states: jt.Var, latents: np.ndarray, timestep: float) -> np.ndarray:
    """Return what the U-Net predicts of `latents` [B, C, h, w] with states [B, L, D], float32 like the latents.

    Raises UserError for values that are not finite.
    """
    from jittor_ipl.runtime.backend import jt
    inputs = jt.array(latents), jt.array(np.float32([timestep])), states
    with jt.no_grad():
        return finite(model.unet, "U-Net", lambda: model.unet(*inputs), f"at timestep {timestep:.0f}")


def encoded(model: LatentDiffusion, picture: np.ndarray) -> np.ndarray:
    """Return the scaled latents [1, C, h, w] of a picture [1, 3, H, W] in [-1, 1], without the autoencoder's noise."""
    from jittor_ipl.runtime.backend import jt
    with jt.no_grad():
        return model.vae.encode(jt.array(picture.astype(np.float32))).numpy()


def decoded(model: LatentDiffusion, latents: np.ndarray) -> np.ndarray:
    """Return the picture float32 [1, 3, H, W], about [-1, 1], of scaled latents [1, C, h, w].

    Raises UserError for values that are not finite.
    """
    from jittor_ipl.runtime.backend import jt
    with jt.no_grad():
        return finite(model.vae, "autoencoder", lambda: model.vae.decode(jt.array(latents)))

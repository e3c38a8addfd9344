"""A diffusion model as a teacher of generators: it redraws pictures in other words, and says how latents should change.

The one door through which `adaptation` and `world` reach this room. Pictures [B, 3, H, W] are in [-1, 1] and of any
size: the teacher sees them at its own. What it computes is not differentiated; the rows of a call are computed together
as far as a bounded memory reaches.
"""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.diffusion.finite import finite
from jittor_ipl.diffusion.memory import PEAK, unet_bytes, vae_bytes
from jittor_ipl.diffusion.pipeline import predicted, text_states
from jittor_ipl.diffusion.samplers import euler, invert
from jittor_ipl.diffusion.schedule import Denoiser, noise_schedule, to_exploding, to_preserving
from jittor_ipl.diffusion.style_files import save_style
from jittor_ipl.disk.integrity import file_sha256
from jittor_ipl.disk.layout import LORA
from jittor_ipl.errors import UserError
from jittor_ipl.images.resample import resized
from jittor_ipl.runtime.memory import give_back_freed_memory
from jittor_ipl.weights.diffusion import load_diffusion
from jittor_ipl.weights.lora import read_lora_for
from jittor_ipl.weights.refs import resolve, split_place

if TYPE_CHECKING:
    from jittor_ipl.config.lora import LoraTraining
    from jittor_ipl.runtime.backend import jt
    from jittor_ipl.train.state import Loop
    from jittor_ipl.weights.diffusion import LatentDiffusion
    from jittor_ipl.weights.lora import LoraModule

# Weights that likelihood distillation gives the score's principal directions over the latents' channels, against a
# drift of colours (arXiv 2411.13536); the last stands for all further ones.
LIKELIHOOD_WEIGHTS = (1.0, .75, .5, .25)
# What is computed together: as much as these bytes hold beside the weights, by the estimates of `memory`, and no more
# rows than this. The same on every machine: a sum's order, and so its last bits, depends on the rows.
BYTES, ROWS = 1 << 30, 64
STATES = 512        # texts whose states are kept: 160 MB of Stable Diffusion 2.1's


def load_teacher(ref: str, lora: str | None = None, base_lora: str | None = None) -> DiffusionTeacher:
    """Return the teacher whose model is at `ref` (`weights.diffusion.load_diffusion`), with a LoRA.

    base_lora: another one that the model has from then on, whatever it is told: of pictures of a kind that it did not
    know. Raises UserError for files that cannot be read, and for a LoRA that does not fit.
    """
    model = load_diffusion(ref)
    teacher = DiffusionTeacher(model if base_lora is None else with_base_lora(model, base_lora))
    return teacher if lora is None else teacher.with_lora(lora)


def with_base_lora(model: LatentDiffusion, ref: str) -> LatentDiffusion:
    """Return `model`, whose weights now contain a LoRA of U-Net, text encoder and autoencoder, under a hash of its own.

    Raises UserError for a file that cannot be read or does not fit.
    """
    from jittor_ipl.models.lora import merge
    from jittor_ipl.runtime.backend import jt
    lora = read_lora_for(model, ref, autoencoder=True)
    networks = {"unet": model.unet, "text_encoder": model.text, "vae": model.vae}
    merge(networks, ((name, module.delta()) for name, module in lora.items()))
    give_back_freed_memory(jt)
    told = f"{model.sha256} {file_sha256(resolve(ref))} {split_place(ref)[1]}"
    return replace(model, sha256=sha256(told.encode()).hexdigest())


def lora_of_pictures(teacher: DiffusionTeacher, pictures: np.ndarray, captions: Sequence[str], settings: LoraTraining,
                     folder: Path, *, seed: int, loop: Loop) -> Path:
    """Train a LoRA of the teacher's model on pictures [N, 3, H, W] and write it into `folder`; return its file.

    A loop that ends before `settings.steps` leaves what it reached. See `dreambooth.train_lora`.
    """
    from jittor_ipl.diffusion.dreambooth import train_lora
    from jittor_ipl.diffusion.examples import Picture
    trained = train_lora(teacher.model, list(map(Picture, pictures, captions)), settings, seed=seed, loop=loop)
    save_style(folder, trained.lora, trained.feature, teacher.model.sha256)
    return folder / LORA


class DiffusionTeacher:
    """What a latent diffusion model can teach; see `redraw` and `score`.

    lora: a style that it has learnt. What it is told of the source's pictures it hears without: a LoRA of a few
    pictures draws its style whatever is said, and pictures taken into the noise by it would lose what is their own.
    """

    def __init__(self, model: LatentDiffusion, lora: Mapping[str, LoraModule] | None = None):
        self.model, self.schedule, self.lora = model, noise_schedule(model.scheduler), lora
        self._states = lru_cache(maxsize=STATES)(lambda text, styled: text_states(model, text))

    def with_lora(self, lora: str | os.PathLike) -> DiffusionTeacher:
        """Return this teacher with the LoRA of a file; UserError for one that does not load or does not fit."""
        return DiffusionTeacher(self.model, read_lora_for(self.model, lora))

    @contextmanager
    def _styled(self, styled: bool) -> Iterator[None]:
        """While it lasts the LoRA, if there is one, is fused into the model."""
        if self.lora is None or not styled:
            yield
        else:
            from jittor_ipl.models.lora import fused
            networks = {"unet": self.model.unet, "text_encoder": self.model.text}
            with fused(networks, ((name, module.delta()) for name, module in self.lora.items())):
                yield

    @property
    def size(self) -> int:
        """Side of the pictures that the teacher sees."""
        return self.model.size

    @property
    def rows(self) -> int:
        """Rows of the U-Net that are computed together; guidance asks two of a picture."""
        return _at_once(unet_bytes(self.model, self.size ** 2))

    @property
    def bytes(self) -> int:
        """About how much memory what is computed together takes beside the weights."""
        whole = self.size ** 2
        most = max(self.rows * unet_bytes(self.model, whole), self._pictures_at_once * vae_bytes(self.model, whole))
        return int(PEAK * most)     # measured with Stable Diffusion 2.1 at 768 px: 1.6 times the estimate

    @property
    def _pictures_at_once(self) -> int:
        return _at_once(vae_bytes(self.model, self.size ** 2))

    def latent_shape(self, count: int) -> tuple[int, int, int, int]:
        """Return the shape [B, C, h, w] of the latents of `count` pictures."""
        unet = self.model.unet.config
        return count, unet.in_channels, unet.sample_size, unet.sample_size

    def latents(self, pictures: np.ndarray) -> np.ndarray:
        """Return the scaled latents [B, C, h, w] of pictures [B, 3, H, W], without the autoencoder's noise."""
        from jittor_ipl.runtime.backend import jt
        seen = resized(pictures, self.size)
        with jt.no_grad():
            return np.concatenate([self.model.vae.encode(jt.array(seen[rows])).numpy()
                                   for rows in _parts(len(seen), self._pictures_at_once)])

    def pictures(self, latents: np.ndarray) -> np.ndarray:
        """Return what latents [B, C, h, w] show, [B, 3, size, size], about [-1, 1]."""
        from jittor_ipl.runtime.backend import jt
        with jt.no_grad():
            return np.concatenate([
                finite(self.model.vae, "autoencoder", lambda rows=rows: self.model.vae.decode(jt.array(latents[rows])))
                for rows in _parts(len(latents), self._pictures_at_once)])

    def redraw(self, pictures: np.ndarray, source: Sequence[str], target: Sequence[str], *, inversion: float = .75,
               steps: int = 10, guidance: float = 2.0, residual: float = .5) -> np.ndarray:
        """Return the pictures [B, 3, H, W] as the words `target` say, in their own composition.

        Each is taken into the noise by DDIM inversion with its words `source`, as far as the share `inversion` of the
        timesteps, and led back in as many `steps` by its words `target` (Song et al. 2021, section 4.3). A share
        `residual` of what the autoencoder and the teacher's size lost on the source is added: edges keep their place
        in an adaptation. Values are clipped to [-1, 1].
        """
        assert len(pictures) == len(source) == len(target)
        visited = np.round(np.arange(steps, 0, -1) * ((inversion * len(self.schedule.sigmas) - 1) / steps))
        if len(set(visited)) < steps:
            raise UserError(f"{steps} steps over {inversion:.0%} of the teacher's {len(self.schedule.sigmas)} "
                            "timesteps: lower sampling_steps")
        sigmas = [*map(float, self.schedule.sigma(visited)), float(self.schedule.sigmas[0])]
        clean = self.latents(pictures)
        x = to_exploding(clean, sigmas[-1])
        for x in invert(self._denoiser(source), x, sigmas):
            pass
        with self._styled(True):
            for x in euler(self._denoiser(target, guidance, styled=True), x, sigmas):
                pass
        side = pictures.shape[2]
        drawn = resized(self.pictures(to_preserving(x, sigmas[-1])), side)
        lost = pictures - resized(self.pictures(clean), side)
        return np.clip(drawn + np.float32(residual) * lost, -1, 1)

    def score(self, way: str, pictures: np.ndarray, target: Sequence[str], noise: np.ndarray, timestep: int, *,
              guidance: float, before: np.ndarray | None = None,
              source: Sequence[str] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Return latents z of the pictures [B, 3, H, W] and the change g of them that the teacher wants less of.

        With the noise e of this timestep in them, and s^2 its variance, g = 2 s^2 times

        sds   e(z; target) - e                          score distillation (Poole et al. 2023, equation 3)
        dds   e(z; target) - e(z0; source)              delta denoising (Hertz et al. 2023, equation 3); z0 the latents
                                                        of the source's own pictures `before`, the same noise in both
        ld    e(z; target), weighted by direction       likelihood distillation (see LIKELIHOOD_WEIGHTS)

        e(z; words) with classifier-free guidance. `noise` [B, C, h, w] is standard.
        """
        z = self.latents(pictures)
        with self._styled(True):
            said = self._noise_of(z, noise, timestep, target, guidance, styled=True)
        if way == "sds":
            said = said - noise
        elif way == "dds":
            said = said - self._noise_of(self.latents(before), noise, timestep, source, guidance)
        else:
            assert way == "ld", way
            said = _by_direction(said)
        variance = 1 - float(self.schedule.alphas_cumprod[timestep])
        return z, np.float32(2 * variance) * said

    def step(self, z: np.ndarray, change: np.ndarray, side: int) -> np.ndarray:
        """Return how pictures [B, 3, side, side] should change for their latents z to lose `change`.

        Taken through the decoder, as a difference: the gradient of the encoder would leave a grid on the pictures.
        """
        # Decoded apart: at another place of a batch the same latents may round to another picture.
        return resized(self.pictures(z - change) - self.pictures(z), side)

    def _noise_of(self, z: np.ndarray, noise: np.ndarray, timestep: int, words: Sequence[str],
                  guidance: float, styled: bool = False) -> np.ndarray:
        sigma = float(self.schedule.sigmas[timestep])
        return self._denoiser(words, guidance, styled)(z + sigma * noise, sigma)[1]

    def _denoiser(self, words: Sequence[str], guidance: float = 1.0, styled: bool = False) -> Denoiser:
        from jittor_ipl.runtime.backend import jt
        states = [self._states(text, styled) for text in words]
        if guidance == 1:
            return Denoiser(self.schedule, self._predictor(jt.concat(states)))
        untold = [self._states("", styled)] * len(words)
        return Denoiser(self.schedule, self._predictor(jt.concat(untold + states)), guidance)

    def _predictor(self, states: jt.Var):
        def predict(latents: np.ndarray, timestep: float) -> np.ndarray:
            return np.concatenate([predicted(self.model, states[rows], latents[rows], timestep)
                                   for rows in _parts(len(latents), self.rows)])
        return predict


def _at_once(bytes_of_one: int) -> int:
    """Return how many of something may be computed together."""
    return max(1, min(ROWS, BYTES // bytes_of_one))


def _parts(count: int, most: int) -> list[slice]:
    """Return 0 .. count in parts of at most `most`."""
    return [slice(first, min(first + most, count)) for first in range(0, count, most)]


def _by_direction(score: np.ndarray) -> np.ndarray:
    """Weigh the principal directions over the channels of scores [B, C, h, w] by LIKELIHOOD_WEIGHTS."""
    b, c, h, w = score.shape
    left, values, right = np.linalg.svd(score.reshape(b, c, h * w), full_matrices=False)
    weights = np.full(values.shape[1], LIKELIHOOD_WEIGHTS[-1], np.float32)
    weights[:len(LIKELIHOOD_WEIGHTS)] = LIKELIHOOD_WEIGHTS[:len(weights)]
    return ((left * (values * weights)[:, None]) @ right).reshape(score.shape).astype(np.float32)

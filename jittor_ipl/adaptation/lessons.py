"""How a teacher wants the generator's pictures to be, step by step: from kept pairs, or from scores as it goes."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from jittor_ipl import losses
from jittor_ipl.adaptation.batches import Batch, draw
from jittor_ipl.adaptation.draws import Draws
from jittor_ipl.adaptation.pairs import Pairs
from jittor_ipl.config.sections import GeneratorTraining
from jittor_ipl.config.teacher import ScoreTraining, Teacher
from jittor_ipl.diffusion.teacher import DiffusionTeacher
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng

Words = Callable[[np.ndarray], tuple[Sequence[str], Sequence[str]]]     # of the source's pictures: source, target words


class Lesson(Protocol):
    """What stage 2 asks of a teacher."""

    def wanted(self, step: int, batch: Batch, target: Generator) -> np.ndarray:
        """Return the pictures [B, 3, H, W] that the target's should become at this step."""

    def loss(self, images: jt.Var, wanted: jt.Var) -> jt.Var:
        """Return how far images [B, 3, H, W] are from that, [1]."""


class PairDraws(Draws):
    """Draws that take the latents of the training from kept pairs."""

    def __init__(self, seed: int, generator: Generator, settings: GeneratorTraining, pairs: Pairs):
        super().__init__(seed, generator, settings)
        self.pairs = pairs

    def rows(self, step: int) -> np.ndarray:
        """Return which pairs a step learns from."""
        return rng(self.seed, "teacher.rows", step).choice(len(self.pairs.z), self.settings.batch, replace=False)

    def z(self, step: int, index: int = 0, stream: str = "generator.z", batch: int | None = None) -> np.ndarray:
        """Return the latents of the step's pairs; others as `Draws` does."""
        if stream == "generator.z" and index == 0:
            return self.pairs.z[self.rows(step)]
        return super().z(step, index, stream, batch)


class PairLesson:
    """The generator repeats what the teacher redrew."""

    def __init__(self, draws: PairDraws, settings: Teacher):
        self.draws, self.settings = draws, settings

    def wanted(self, step: int, batch: Batch, target: Generator) -> np.ndarray:
        """Return the redrawn pictures of the step's pairs, sharpened."""
        return sharpened(self.draws.pairs.pictures(self.draws.rows(step)), self.settings.pairs.sharpen)

    def loss(self, images: jt.Var, wanted: jt.Var) -> jt.Var:
        """See `losses.regression`."""
        return losses.regression(images, wanted, self.settings.edges, self.settings.coarse)


class ScoreLesson:
    """The generator's own pictures, moved as the teacher's score says (`DiffusionTeacher.score`).

    first: whether the way begins with the source generator, which decides on the distance where the settings do not.
    The gradient of the squared distance is the step itself, as the ways were published; that of the absolute one keeps
    the step's signs alone, so that noise weighs as much as what it hides. After pairs the two end alike, and released
    styles were made with the absolute one.
    """

    def __init__(self, way: str, teacher: DiffusionTeacher, source: Generator, words: Words, settings: Teacher,
                 seed: int, first: bool = False):
        self.way, self.teacher, self.source, self.words, self.settings = way, teacher, source, words, settings
        self.seed, wanted = seed, settings.scores.distance
        self.squared = first if wanted == "auto" else wanted == "squared"

    def wanted(self, step: int, batch: Batch, target: Generator) -> np.ndarray:
        """Return the target's pictures of this step, moved."""
        numbers = self.settings.scores
        before = np.clip(draw(self.source, batch.ws, batch.noise).numpy(), -1, 1)
        now = draw(target, batch.ws, batch.target_noise).numpy()
        source, aim = self.words(before)
        random = rng(self.seed, f"teacher.{self.way}", step)
        noise = random.standard_normal(self.teacher.latent_shape(len(now)), np.float32)
        timestep = self._timestep(numbers, step, random)
        z, change = self.teacher.score(self.way, now, aim, noise, timestep, guidance=numbers.guidance, before=before,
                                       source=source)
        return now + self.teacher.step(z, np.float32(numbers.strength) * change, now.shape[2])

    def loss(self, images: jt.Var, wanted: jt.Var) -> jt.Var:
        """See `losses.mean_square` and `losses.regression`."""
        if self.squared:
            return losses.mean_square([images - wanted])
        return losses.regression(images, wanted, self.settings.edges, self.settings.coarse)

    def _timestep(self, numbers: ScoreTraining, step: int, random: np.random.Generator) -> int:
        done = step / max(numbers.steps - 1, 1)
        last = numbers.noise_to + (numbers.noise_last - numbers.noise_to) * done
        return int(random.uniform(numbers.noise_from, last) * len(self.teacher.schedule.sigmas))


def sharpened(images: np.ndarray, amount: float) -> np.ndarray:
    """Return images [B, 3, H, W] plus `amount` times what a blur (1-2-1) takes from them, clipped to [-1, 1]."""
    if not amount:
        return images
    p = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    p = (p[:, :, :-2] + 2 * p[:, :, 1:-1] + p[:, :, 2:]) / 4
    blurred = (p[..., :-2] + 2 * p[..., 1:-1] + p[..., 2:]) / 4
    return np.clip(images + np.float32(amount) * (images - blurred), -1, 1)

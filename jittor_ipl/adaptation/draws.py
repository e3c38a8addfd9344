"""What stage 2 draws while it trains, as pure functions of (seed, step)."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jittor_ipl.adaptation import views
from jittor_ipl.adaptation.batches import Batch
from jittor_ipl.config.sections import GeneratorTraining
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng


class Draws:
    """The draws of one run; a test may put recorded numbers in their place."""

    def __init__(self, seed: int, generator: Generator, settings: GeneratorTraining):
        self.seed, self.generator, self.settings = seed, generator, settings

    def z(self, step: int, index: int = 0, stream: str = "generator.z", batch: int | None = None) -> np.ndarray:
        """Return the latents [batch, style_dim], number `index` of a step in a stream, by default of the training.

        Number 1 of the training's is the second code of style mixing. batch: the training's batch size when None.
        """
        shape = (batch or self.settings.batch, self.generator.style_dim)
        return rng(self.seed, stream, step, index).standard_normal(shape, np.float32)

    def projection(self, index: int, shape: Sequence[int]) -> np.ndarray:
        """Return the signs (1 or -1) of `shape` that images are summed with to measure the information of weights."""
        return rng(self.seed, "generator.projection", 0, index).choice(np.float32([-1, 1]), shape)

    def crossover(self, step: int) -> int:
        """Return the layer from which the second code of style mixing takes over, 0 for none at this step."""
        drawn = rng(self.seed, "generator.mixing", step)
        return int(drawn.integers(1, self.generator.n_latent)) if drawn.random() < self.settings.mixing else 0

    def noise(self, step: int, index: int, batch: int) -> list[jt.Var] | str:
        """Return the noise of a synthesis: "const", or fresh per (step, index)."""
        if self.settings.noise == "const":
            return "const"
        return self.generator.draw_noise(rng(self.seed, "generator.noise", step, index), batch)

    def batch(self, step: int, ws: jt.Var, directions: list[jt.Var], separate_noise: bool) -> Batch:
        """Return what a step compares, both generators with the same noise or each with its own."""
        numbers, size = self.settings, self.generator.size
        noise = self.noise(step, 0, numbers.batch)
        seen = [views.draw(rng(self.seed, "generator.views", step, index), numbers.batch, size, numbers.view_scale,
                           numbers.view_noise) for index in range(numbers.views)]
        centers = views.draw_patch_centers(rng(self.seed, "generator.patches", step), numbers.batch, size)
        return Batch(ws, noise, self.noise(step, 2, numbers.batch) if separate_noise else noise, directions, seen,
                     centers)

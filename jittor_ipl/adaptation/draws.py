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

    def z(self, step: int, index: int = 0) -> np.ndarray:
        """Return the latents [batch, style_dim] of a step; index 1 is the second code of style mixing."""
        return self._normal("generator.z", step, index, self.settings.batch)

    def z_layers(self, step: int) -> np.ndarray:
        """Return the latents [auto_layers_batch, style_dim] that the layers are chosen on."""
        return self._normal("generator.layers", step, 0, self.settings.auto_layers_batch)

    def z_anchor(self, step: int, index: int) -> np.ndarray:
        """Return latents [batch, style_dim], number `index`, that an anchor dropped at `step` is measured on."""
        return self._normal("generator.anchor", step, index, self.settings.batch)

    def z_information(self, index: int) -> np.ndarray:
        """Return latents [batch, style_dim], number `index`, that the information of weights is measured on."""
        return self._normal("generator.information", 0, index, self.settings.batch)

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
        count = self.settings.batch
        noise = self.noise(step, 0, count)
        return Batch(ws, noise, self.noise(step, 2, count) if separate_noise else noise, directions,
                     [self.view(step, index) for index in range(self.settings.views)],
                     self.patch_centers(step, views.patch_size(self.generator.size)))

    def view(self, step: int, index: int) -> views.View:
        """Return the random view number `index` of a step's images."""
        drawn, numbers = rng(self.seed, "generator.views", step, index), self.settings
        return views.draw(drawn, numbers.batch, self.generator.size, numbers.view_scale, numbers.view_noise)

    def patch_centers(self, step: int, size: int) -> np.ndarray:
        """Return the centres [batch, 2] of the patch loss's crops."""
        return views.draw_patch_centers(rng(self.seed, "generator.patches", step), self.settings.batch,
                                        self.generator.size, size)

    def _normal(self, stream: str, step: int, index: int, batch: int) -> np.ndarray:
        return rng(self.seed, stream, step, index).standard_normal((batch, self.generator.style_dim), np.float32)

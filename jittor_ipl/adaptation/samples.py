"""Fixed-seed sample grids, source above target, from step 0 on: the run's progress as pictures."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jittor_ipl.adaptation.batches import at_once
from jittor_ipl.images.files import save_png
from jittor_ipl.images.pixels import to_uint8
from jittor_ipl.images.sheets import grid
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.models.stylegan2.pictures import pictures
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import z_from_seeds

BATCH = 8  # images at a time, whatever the size of the grid


class SampleGrid:
    """Grids of the same seeds in the same place of a run's folder: `samples/000050.png`.

    The source's row is drawn once. `center` [1, style_dim] is the source's, for both rows.
    """

    def __init__(self, folder: str | Path, source: Generator, seeds: Sequence[int], psi: float, center: jt.Var,
                 noise: str = "const", text: dict[str, str] | None = None):
        self.folder, self.seeds, self.psi, self.center, self.noise = Path(folder), list(seeds), psi, center, noise
        self.text = {"seeds": ",".join(map(str, self.seeds)), "truncation": str(psi), **(text or {})}
        self._source = self._pixels(source)

    def save(self, step: int, generator: Generator) -> Path:
        """Write the grid of `step`: source images in the first row, the generator's below; returns the file."""
        pictures = grid([*self._source, *self._pixels(generator)], columns=len(self.seeds))
        return save_png(self.folder / f"{step:06d}.png", pictures, {**self.text, "step": str(step)})

    def _pixels(self, generator: Generator) -> np.ndarray:
        z = z_from_seeds(self.seeds, generator.style_dim)
        batch = min(BATCH, at_once(generator.size))
        images = pictures(generator, z, batch, self.noise, self.psi, self.center)
        # A diverged run must still be able to show that it diverged.
        return to_uint8(np.nan_to_num(images, nan=0.0, posinf=1.0, neginf=-1.0))

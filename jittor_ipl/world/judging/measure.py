"""Measure adapted demo generators with the independent judges, on seeds that no trial used."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import z_from_seed
from jittor_ipl.world.judging.judge import load
from jittor_ipl.world.subjects import PORTRAITS, Subject

# Tuning looked at others: below a million, and from nine millions on.
MEASURED_SEEDS = range(2_000_000, 2_000_256)


class Panel:
    """Both judges of a subject and what they see in the source generator's pictures."""

    def __init__(self, source: Generator, seeds: Sequence[int] = MEASURED_SEEDS, subject: Subject = PORTRAITS):
        self.subject = subject
        self.colour, self.structure = load(f"{subject.prefix}judge"), load(f"{subject.prefix}judge-structure")
        self.z = np.stack([z_from_seed(seed, source.style_dim) for seed in seeds])
        self.meant = subject.table.labels(subject.table.from_latent(self.z))
        self.before = self.colour.attributes(draw(source, self.z))

    def verdict(self, target: Generator, style: str) -> dict[str, float]:
        """Shares in [0, 1] over the seeds, untruncated:

        judge       seen as `style` by the colour judge
        structure   seen as `style` by the judge of locally normalised greyscale
        kept        attributes seen as in the source generator's picture of the same seed
        meant       attributes seen as the latent means them
        """
        images = draw(target, self.z)
        seen = self.colour.predict(images)
        index = self.subject.styles.index(style)
        structure = self.structure.style(images)
        return {"judge": float(np.mean(seen[:, 0] == index)), "structure": float(np.mean(structure == index)),
                "kept": float(np.mean(seen[:, 1:] == self.before)), "meant": float(np.mean(seen[:, 1:] == self.meant))}

    def by_attribute(self, target: Generator) -> dict[str, float]:
        """For every attribute, the share of pictures in which it is seen as the latent means it."""
        agree = self.colour.attributes(draw(target, self.z)) == self.meant
        return dict(zip(self.subject.table.values, agree.mean(axis=0).tolist()))


def draw(generator: Generator, z: np.ndarray, batch: int = 32) -> np.ndarray:
    """Untruncated pictures float32 [N, 3, H, W] clipped to [-1, 1] of latents z [N, d], stored noise."""
    with jt.no_grad():
        parts = [generator.synthesis(generator.mapping(jt.array(z[i:i + batch])), "const").numpy()
                 for i in range(0, len(z), batch)]
    return np.clip(np.concatenate(parts), -1, 1)

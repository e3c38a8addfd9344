"""Measure adapted demo generators with the independent judges, on seeds that no trial used."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.models.stylegan2.pictures import pictures
from jittor_ipl.runtime.streams import z_from_seeds
from jittor_ipl.world.judging.judge import load
from jittor_ipl.world.subjects import PORTRAITS, Subject

# Tuning looked at others: below a million, and from nine millions on.
MEASURED_SEEDS = range(2_000_000, 2_000_256)


class Panel:
    """Both judges of a subject and what they see in the source generator's pictures."""

    def __init__(self, source: Generator, seeds: Sequence[int] = MEASURED_SEEDS, subject: Subject = PORTRAITS):
        self.subject = subject
        self.colour, self.structure = load(f"{subject.prefix}judge"), load(f"{subject.prefix}judge-structure")
        self.z = z_from_seeds(seeds, source.style_dim)
        self.meant = subject.table.labels(subject.table.from_latent(self.z))
        self.before = self.colour.attributes(_drawn(source, self.z))

    def verdict(self, target: Generator, style: str) -> dict[str, float]:
        """Return the `shares` over the seeds, untruncated."""
        images = _drawn(target, self.z)
        return shares(self.subject, style, self.colour.predict(images), self.structure.style(images), self.before,
                      self.meant)[0]

    def by_attribute(self, target: Generator) -> dict[str, float]:
        """For every attribute, the share of pictures in which it is seen as the latent means it."""
        agree = self.colour.attributes(_drawn(target, self.z)) == self.meant
        return dict(zip(self.subject.table.values, agree.mean(axis=0).tolist()))


def shares(subject: Subject, style: str, seen: np.ndarray, structure: np.ndarray, before: np.ndarray,
           meant: np.ndarray) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Return shares in [0, 1] of what the judges see, and "kept" and "meant" of every attribute.

    judge            pictures seen as `style` by the colour judge, of its labels `seen` [N, 1 + attributes]
    structure        the same by the judge of locally normalised greyscale, of its style labels `structure` [N]
    kept             attributes seen as in the source's pictures, whose labels are `before` [N, attributes]
    kept_uncoloured  the same without the attributes that are colours of the picture
    meant            attributes seen as the latents mean them, labels `meant` [N, attributes]
    """
    names = list(subject.table.values)
    kept, agree = seen[:, 1:] == before, seen[:, 1:] == meant
    shapes = [i for i, name in enumerate(names) if name not in subject.hues]
    return ({"judge": share_of(subject, style, seen[:, 0]), "structure": share_of(subject, style, structure),
             "kept": float(kept.mean()), "kept_uncoloured": float(kept[:, shapes].mean()),
             "meant": float(agree.mean())},
            {name: {"kept": float(kept[:, i].mean()), "meant": float(agree[:, i].mean())}
             for i, name in enumerate(names)})


def share_of(subject: Subject, style: str, labels: np.ndarray) -> float:
    """Return the part of a judge's style labels [N] that are `style`."""
    return float((labels == subject.styles.index(style)).mean())


def _drawn(generator: Generator, z: np.ndarray) -> np.ndarray:
    return np.clip(pictures(generator, z), -1, 1)

"""Measure adapted demo generators against the truth and with the judges, on seeds that no trial used."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jittor_ipl.images.pixels import from_uint8, to_uint8
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.models.stylegan2.pictures import pictures
from jittor_ipl.runtime.streams import z_from_seeds
from jittor_ipl.world.judging import truth
from jittor_ipl.world.judging.features import JudgeFeatures
from jittor_ipl.world.judging.judge import load
from jittor_ipl.world.judging.shapes import ShapeJudge, load_shapes
from jittor_ipl.world.subjects import PORTRAITS, Subject

# Tuning looked at others: below a million, and from nine millions on.
MEASURED_SEEDS = range(2_000_000, 2_000_256)
FIRST_REFERENCE_SEED = 3_000_000        # of the latents whose true renders FID compares with, as in the benchmark


class Panel:
    """The judges of a subject, the truth, and what they see in the source generator's pictures."""

    def __init__(self, source: Generator, seeds: Sequence[int] = MEASURED_SEEDS, subject: Subject = PORTRAITS):
        self.subject = subject
        self.colour, self.structure = load(f"{subject.prefix}judge"), load(f"{subject.prefix}judge-structure")
        self.shape, self._network = load_shapes(subject), JudgeFeatures(subject)
        self.z = z_from_seeds(seeds, source.style_dim)
        self._others = z_from_seeds(range(FIRST_REFERENCE_SEED, FIRST_REFERENCE_SEED + len(seeds)), source.style_dim)
        self.meant = subject.table.labels(subject.table.from_latent(self.z))
        self.source = _drawn(source, self.z)
        self.before = self.colour.attributes(self.source)
        self._truths: dict[str, tuple[np.ndarray, truth.SetFeatures, truth.SetFeatures]] = {}

    def verdict(self, target: Generator, style: str) -> dict[str, float]:
        """Return the `figures` of a generator's untruncated pictures of all seeds."""
        return self.figures(_drawn(target, self.z), style)

    def ceiling(self, style: str) -> dict[str, float]:
        """Return the `figures` of the true renders of all seeds: what a perfect generator would reach."""
        return self.figures(_as_floats(self._truth(style)[0]), style)

    def figures(self, images: np.ndarray, style: str) -> dict[str, float]:
        """Return what is seen in a style's pictures float32 [N, 3, H, W] of all seeds, in their order, the truth first.

        way, psnr, sharpness, shape    as `against_truth` says
        fid                    to the true renders of as many other latents, from `FIRST_REFERENCE_SEED` on
        judge, structure, kept, kept_uncoloured, meant    the `shares`
        diversity              mean distance of all pairs of pictures over that of the true renders
        """
        renders, same, others = self._truth(style)
        seen = truth.SetFeatures(self._network, images)
        found = against_truth(self.subject, style, images, _as_floats(renders), self.source, self.shape)
        found["fid"] = seen.fid(others)
        found |= shares(self.subject, style, self.colour.predict(images), self.structure.style(images), self.before,
                        self.meant)[0]
        return found | {"diversity": seen.spread / same.spread}

    def _truth(self, style: str) -> tuple[np.ndarray, truth.SetFeatures, truth.SetFeatures]:
        """True renders uint8 [N, 3, H, W] of the seeds, their features, and those of the other latents' renders."""
        if style not in self._truths:
            table, size = self.subject.table, self.source.shape[-1]
            drawn = [self.subject.render(table.from_latent(z), style, size) for z in (self.z, self._others)]
            features = [truth.SetFeatures(self._network, _as_floats(images)) for images in drawn]
            self._truths[style] = drawn[0], *features
        return self._truths[style]

    def by_attribute(self, target: Generator) -> dict[str, float]:
        """For every attribute, the share of pictures in which it is seen as the latent means it."""
        agree = self.colour.attributes(_drawn(target, self.z)) == self.meant
        return dict(zip(self.subject.table.values, agree.mean(axis=0).tolist()))


def against_truth(subject: Subject, style: str, images: np.ndarray, true: np.ndarray, source: np.ndarray,
                  shape: ShapeJudge | None) -> dict[str, float]:
    """Return what adapted pictures reach of the true renders; all float32 [N, 3, H, W] in [-1, 1], of the same latents.

    way, psnr, sharpness   as in `truth`
    shape                  share of pictures that show what makes the style; absent where no judge asks for that
    """
    found = {"way": truth.way(images, true, source), "psnr": truth.psnr(images, true),
             "sharpness": truth.sharpness(images, true)}
    if shape is not None and subject.features(style):
        found["shape"] = float(shape.shows(images, style).mean())
    return found


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
    """Pictures of latents as 8 bits hold them, like the true renders and those of the benchmark."""
    return from_uint8(to_uint8(pictures(generator, z)))


def _as_floats(renders: np.ndarray) -> np.ndarray:
    return from_uint8(np.moveaxis(renders, 1, -1))

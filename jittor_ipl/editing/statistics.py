"""The mean and the deviation of every number of the style space: the unit in which edits are measured."""
from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jittor_ipl.editing.codes import Styles, in_file_order, in_our_order
from jittor_ipl.errors import UserError
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.network import read_network

# StyleCLIP's own: 100,000 latents of RandomState(5), the first 8 layers truncated to .7.
SEED, COUNT, PSI, CUTOFF = 5, 100_000, .7, 8
_AT_ONCE = 2000


@dataclass(frozen=True)
class StyleStatistics:
    """Mean and deviation of S codes, float32 [C] a style layer in the order of `Generator.styles`."""

    mean: Styles
    std: Styles

    def tensors(self, generator: Generator) -> dict[str, np.ndarray]:
        """Return them as a file has them: "mean.0", ... and "std.0", ... from coarse to fine."""
        return {f"{part}.{i}": values for part in ("mean", "std")
                for i, values in enumerate(in_file_order(generator, getattr(self, part)))}


def sampled_styles(generator: Generator, count: int, psi: float = PSI, cutoff: int | None = CUTOFF,
                   seed: int = SEED) -> Iterator[Styles]:
    """Yield S codes, float32 [n, C] a layer, of `count` latents of one stream, RandomState(seed).randn(count, dim).

    The first `cutoff` layers are truncated by `psi`; all of them when it is None. The same numbers come in the same
    order whatever is read of them: the first 100 are those of StyleCLIP's preparation.
    """
    random, center = np.random.RandomState(seed), generator.center(4096, 2)
    for start in range(0, count, _AT_ONCE):
        z = random.randn(min(_AT_ONCE, count - start), generator.style_dim).astype(np.float32)
        with jt.no_grad():
            w = generator.mapping(jt.array(z))
            if psi != 1:
                short = cutoff is None or cutoff >= generator.n_latent
                w = generator.truncate(w, psi, center, None if short else cutoff)
            codes = generator.styles(w)
            jt.sync(codes)
        yield tuple(code.numpy() for code in codes)


def measure_statistics(generator: Generator, count: int | None = None, psi: float = PSI) -> StyleStatistics:
    """Return the statistics of `count` S codes (100,000 when None) as StyleCLIP draws them; sums in float64."""
    count = count or COUNT
    total = squares = None
    for codes in sampled_styles(generator, count, psi):
        wide = [code.astype(np.float64) for code in codes]
        sums, of_squares = [code.sum(0) for code in wide], [np.square(code).sum(0) for code in wide]
        total = sums if total is None else [a + b for a, b in zip(total, sums)]
        squares = of_squares if squares is None else [a + b for a, b in zip(squares, of_squares)]
    mean = [one / count for one in total]
    std = [np.sqrt(np.maximum(one / count - np.square(m), 0)) for one, m in zip(squares, mean)]
    return StyleStatistics(tuple(m.astype(np.float32) for m in mean), tuple(s.astype(np.float32) for s in std))


def load_statistics(ref: str | os.PathLike, generator: Generator) -> StyleStatistics:
    """Return the statistics in a file of StyleCLIP's (S_mean_std), PaddleGAN's (*-stats.pdparams) or this project's.

    UserError when it holds something else, belongs to a generator of another shape, or has values that are no
    deviations.
    """
    tensors, label = read_network(ref, kind="style-statistics").tensors, os.fspath(ref)
    parts = []
    for part in ("mean", "std"):
        values = [tensors[f"{part}.{i}"].reshape(-1) for i in range(len(tensors) // 2)]
        parts.append(in_our_order(generator, values, label))
    if not all(np.isfinite(values).all() for part in parts for values in part) or min(v.min() for v in parts[1]) < 0:
        raise UserError(f"{label}: a mean or deviation in it is no number or negative; make it again with edit prepare")
    return StyleStatistics(*parts)

"""How many images are drawn and looked at together, so that a step on large ones fits a common machine's memory."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jittor_ipl.adaptation.views import View
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.train.ranks import Ranks

# Of images under a gradient at once. A pixel keeps about 5 KiB of a generator's intermediate results until its gradient
# is done; 64 px, 32 images at once, and 256 px, 2 images, stay whole. A constant, for the numbers must not depend on
# the machine.
PIXELS = 2 * 256 ** 2
WHOLE = slice(None)
Noise = list[jt.Var] | str


def at_once(size: int) -> int:
    """Return how many images of side `size` are computed together."""
    return max(1, PIXELS // size ** 2)


def slices(count: int, size: int) -> list[slice]:
    """Return the parts in which `count` images of side `size` are computed; [WHOLE] where all fit at once."""
    step = at_once(size)
    return [WHOLE] if count <= step else [slice(i, min(i + step, count)) for i in range(0, count, step)]


def noise_of(noise: Noise, rows: slice) -> Noise:
    """Return those rows of a synthesis's noise; "const" and the like are the same for all."""
    return noise if rows == WHOLE or isinstance(noise, str) else [one[rows] for one in noise]


def draw(generator: Generator, ws: jt.Var, noise: Noise) -> jt.Var:
    """Return the images [B, 3, H, W] of ws, outside any gradient, as many at once as `slices` says."""
    with jt.no_grad():
        if (parts := slices(ws.shape[0], generator.size)) == [WHOLE]:
            return generator.synthesis(ws, noise)
        images = []
        for rows in parts:
            images.append(generator.synthesis(ws[rows], noise_of(noise, rows)))
            images[-1].sync()        # before the next: together they would need the memory that the parts are to save
        return jt.concat(images, 0)


@dataclass(frozen=True)
class Batch:
    """What one step of stage 2 draws for its B images, and where each listener wants them to go."""

    ws: jt.Var                      # [B, style_dim] or [B, n_latent, style_dim]
    noise: Noise                    # of the source generator
    target_noise: Noise             # of the target generator
    directions: list[jt.Var]        # per listener [1 or B, d], unit
    views: list[View]
    centers: np.ndarray             # [B, 2] of the patches
    wanted: jt.Var | None = None    # [B, 3, H, W] as a teacher wants the pictures to be

    def part(self, rows: slice) -> Batch:
        """Return the batch of those rows alone."""
        if rows == WHOLE:
            return self
        return replace(
            self, ws=self.ws[rows], noise=noise_of(self.noise, rows), target_noise=noise_of(self.target_noise, rows),
            directions=[one[rows] if one.shape[0] > 1 else one for one in self.directions],
            views=[View(*(None if array is None else array[rows] for array in view)) for view in self.views],
            centers=self.centers[rows], wanted=None if self.wanted is None else self.wanted[rows])


def gradients(terms_of: Callable[[Batch], dict[str, jt.Var]], batch: Batch, rows: Sequence[slice],
              params: Sequence[jt.Var], ranks: Ranks | None = None) -> tuple[jt.Var, dict[str, jt.Var], list[jt.Var]]:
    """Return a loss [1], the terms [1] that it is the sum of, and its gradients, over a batch.

    Every term must be a mean over images, or not depend on them: with several `rows` each part counts by its share of
    the batch, and nothing of it but the sums is kept. The terms of a whole batch are not computed yet. With `ranks`
    the rows are this process's and the sums those of all.
    """
    if list(rows) == [WHOLE]:
        terms = terms_of(batch)
        loss = sum(terms.values())
        return loss, terms, jt.grad(loss, params)
    terms, grads = {}, [0.0] * len(params)
    for one in rows:
        share = (one.stop - one.start) / batch.ws.shape[0]
        of_part = {name: share * term for name, term in terms_of(batch.part(one)).items()}
        new = jt.grad(sum(of_part.values()), params)
        with jt.no_grad():
            grads = [total + grad for total, grad in zip(grads, new)]
            terms = {name: terms.get(name, 0.0) + term.detach() for name, term in of_part.items()}
        jt.sync([*grads, *terms.values()])
    if ranks is not None:
        names, sums = list(terms), ranks.added([*terms.values(), *grads])
        terms, grads = dict(zip(names, sums)), sums[len(names):]
    return sum(terms.values()), terms, grads

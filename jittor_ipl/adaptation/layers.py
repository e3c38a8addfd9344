"""Which tensors of the generator train: parameter groups, fixed phases and NADA's adaptive choice of layers."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from jittor_ipl.adaptation.batches import WHOLE, slices
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt

# Convolutions of each fixed phase; all but "all" also train the constant input and the first convolution.
_PHASES = {"texture": slice(2, 10), "shape": slice(0, 2), "shape_expanded": slice(0, 3), "no_fine": slice(0, 10),
           "no_mapping": slice(None)}
# "fine" trains from the third doubling on, 32 px and larger, "coarse" from the first, "medium" from the second but for
# the matrices that make styles of w; and every stored noise map.
LEVELS = {"coarse": 0, "medium": 1, "fine": 2}
LossOfRows = Callable[[jt.Var, slice], jt.Var]
SELECTION_RATE = 0.01    # of the gradient step on W+ that ranks the layers (NADA, section 4.3)


def group_of(name: str) -> str:
    """Return a generator tensor's group: mapping, const, noise (strengths), maps (stored noise), rgb or convs."""
    group = {"noises": "maps", "style": "mapping", "input": "const"}.get(name.split(".")[0])
    return group or ("noise" if name.endswith("noise.weight") else "rgb" if name.startswith("to_rgb") else "convs")


def candidates(generator: Generator, groups: Iterable[str], layers: str) -> list[str]:
    """Return the names of the tensors of these groups, and of the phase `layers` ("auto" and "all": any).

    "modulation" is the part of convs and rgb that is one vector a layer, added to every image's style: the compact
    domain modulation of HyperDomainNet (Alanov 2022), which multiplies where this adds.
    """
    groups = set(groups)
    names = [name for name in generator.trainable()
             if group_of(name) in groups or ("modulation" in groups and name.endswith(".modulation.bias"))]
    if layers in ("auto", "all"):
        return names
    if layers in LEVELS:
        levels = range(LEVELS[layers], len(generator.to_rgbs))
        prefixes = tuple(part for i in levels for part in (f"to_rgbs.{i}.", f"convs.{2 * i}.", f"convs.{2 * i + 1}."))
        names = [name for name in names if name.startswith((*prefixes, "noises."))]
        return [name for name in names if layers != "medium" or not name.endswith(".modulation.weight")]
    convs = range(len(generator.convs))[_PHASES[layers]]
    prefixes = ("input.", "conv1.", *(f"convs.{i}." for i in convs))
    return [name for name in names if name.startswith(prefixes)]


def layers_of(generator: Generator, index: int, official: bool = False) -> tuple[str, ...]:
    """Return the prefixes of the layers that `latent[index]` of W+ stands for.

    By default these are the layers which that latent drives: a convolution and, every second time, a ToRGB. The
    official code looks the index up in [conv1, to_rgb1, convs...], which is off by one from index 2 on.
    """
    n = len(generator.convs)
    assert 0 <= index < generator.n_latent, index
    if official:
        return ("conv1.", "to_rgb1.")[index:index + 1] if index < 2 else (f"convs.{index - 2}.",)
    if index == 0:
        return ("conv1.",)
    convs = (f"convs.{index - 1}.",) if index <= n else ()
    if index == 1:
        return ("to_rgb1.", *convs)
    return convs + ((f"to_rgbs.{(index - 3) // 2}.",) if index % 2 else ())


def selected(generator: Generator, names: Sequence[str], indices: Iterable[int], official: bool = False) -> list[str]:
    """Return those of `names` that belong to the layers of the chosen W+ `indices`."""
    prefixes = tuple(prefix for index in indices for prefix in layers_of(generator, int(index), official))
    return [name for name in names if name.startswith(prefixes)]


def choose(generator: Generator, ws: jt.Var, loss: LossOfRows, k: int, iterations: int) -> np.ndarray:
    """Return the `k` indices of W+ [B, n_latent, style_dim] that gradient steps on the loss move most.

    The one that moves most is first, of equal ones the lower. `loss(ws[rows], rows)` is a mean over those images, which
    depend on nothing but their own row.
    """
    moved = scores(ws, loss, iterations, slices(ws.shape[0], generator.size))
    return np.argsort(-moved, kind="stable")[:k]


def scores(ws: jt.Var, loss: LossOfRows, iterations: int, parts: Sequence[slice] = (WHOLE,)) -> np.ndarray:
    """Return how far gradient steps move each latent: the mean |change|, [n_latent] (NADA, section 4.3)."""
    start = ws.numpy()
    now = start.copy()
    for _ in range(iterations):
        for rows in parts:
            leaf = jt.array(now[rows])
            share = np.float32(len(now[rows]) / len(now))
            now[rows] -= np.float32(SELECTION_RATE) * share * jt.grad(loss(leaf, rows), leaf).numpy()
    return np.abs(now - start).mean(-1).mean(0)

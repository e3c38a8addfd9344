"""One direction for one prompt in seconds, as StyleMC finds it (Kocasari et al. 2022): some faces move as one.

A hundred faces or so are drawn no larger than needed, one change of their coarse style channels is moved down the
gradient of the loss, and channels whose gradient keeps changing its sign are put back: they do not help all faces.
"""
from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jittor_ipl.editing.codes import Styles, file_positions, in_file_order, in_our_order, layers_of
from jittor_ipl.editing.dictionary import Dictionary
from jittor_ipl.editing.direction import Step
from jittor_ipl.editing.guidance import Guide, Recogniser
from jittor_ipl.editing.partial import picture_from, start, steps_to
from jittor_ipl.errors import UserError
from jittor_ipl.losses import identity
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.folder import find_file_set
from jittor_ipl.weights.generator import generator_sha256, require_generator
from jittor_ipl.weights.network import open_network, read_network
from jittor_ipl.weights.refs import locate

KIND = "style-step"
IDENTITY = {"high": 2.0, "medium": 0.5, "low": 0.1, "none": 0.0}        # StyleMC's weights
REMAKE = "find one for this generator with edit fast"       # what to do about a direction of another
STRENGTH = 2.0                      # of a direction, where none is asked for
_COARSE = range(8, 65)              # resolutions in pixels whose convolutions move


@dataclass(frozen=True)
class FastSettings:
    """StyleMC's numbers, but for the length of a step, which counts in the largest channel.

    batches_per_step batches give one gradient; a channel is put back when more than `flips` of the batches' number of
    its signs changed.
    """

    batch: int = 4
    batches_per_step: int = 2
    step: float = 0.1               # how far a gradient moves the channel that it moves most, in its unit
    flips: float = 0.25
    id_lambda: float = 0.1
    side: int = 256                 # pictures are drawn no larger than the first resolution from here on


def moving_layers(generator: Generator) -> list[int]:
    """Return the positions in `Generator.styles` of the convolutions of 8 to 64 px: 4,096 channels of config-f."""
    return [place for place, layer in zip(file_positions(generator), layers_of(generator))
            if not layer.rgb and layer.resolution in _COARSE]


def find_step(generator: Generator, styles: Styles, guides: Sequence[Guide], settings: FastSettings,
              units: Sequence[np.ndarray] | None = None, recogniser: Recogniser | None = None) -> Styles:
    """Return what to add to S codes, float32 [C] a style layer, so that pictures show the guides' prompt.

    styles      of the faces that it is found on, [N, C] a layer in the order of `Generator.styles`, as the result is
    units       [1, C] a layer, in which channels move; their own numbers when None
    recogniser  needed where `settings.id_lambda` is above 0

    The largest change of the result is 1 unit. Raises UserError when no channel moves, or the gradient is not finite.
    """
    assert not settings.id_lambda or recogniser, "an identity loss needs a recogniser"
    layers = moving_layers(generator)
    scales = {i: np.ones_like(styles[i][:1]) if units is None else units[i].reshape(1, -1) for i in layers}
    change = {i: np.zeros_like(styles[i][:1]) for i in layers}
    gradients: list[dict[int, np.ndarray]] = []
    batches = [slice(at, at + settings.batch) for at in range(0, len(styles[0]), settings.batch)]
    for first in range(0, len(batches), settings.batches_per_step):
        total = {i: np.zeros_like(value) for i, value in change.items()}
        for rows in batches[first:first + settings.batches_per_step]:
            found = _gradient(generator, [code[rows] for code in styles], change, scales, guides, settings, recogniser)
            total = {i: total[i] + found[i] for i in layers}
        largest = max(np.abs(value).max() for value in total.values())
        if not np.isfinite(largest):
            raise UserError("the gradient of the loss is not finite: the weights are damaged, or the faces are")
        if largest > 0:
            change = {i: change[i] - settings.step / largest * total[i] for i in layers}
        gradients.append(total)
    kept = {i: pruned(change[i], [gradient[i] for gradient in gradients], settings.flips * len(batches))
            for i in layers}
    largest = max(np.abs(value).max() for value in kept.values())
    if not largest > 0:
        raise UserError("no channel moves the pictures towards these words: use others, or more faces (--find-on)")
    return tuple((kept[i] / largest * scales[i])[0].astype(np.float32) if i in kept else np.zeros_like(code[0])
                 for i, code in enumerate(styles))


def pruned(change: np.ndarray, gradients: Sequence[np.ndarray], most: float) -> np.ndarray:
    """Return a change [1, C] with 0 for channels whose gradient's sign changed more than `most` times, all [1, C].

    The first two gradients do not count, as in StyleMC: they belong to a change that has only begun.
    """
    pairs = zip(gradients[1:], gradients[2:])
    flips = sum(((a * b) < 0).astype(int) for a, b in pairs) if len(gradients) > 2 else np.zeros(change.shape, int)
    return np.where(flips > most, 0, change)


def _gradient(generator: Generator, codes: Sequence[np.ndarray], change: Mapping[int, np.ndarray],
              scales: Mapping[int, np.ndarray], guides: Sequence[Guide], settings: FastSettings,
              recogniser: Recogniser | None) -> dict[int, np.ndarray]:
    """Return the gradient of a batch's summed loss to the change, a layer [1, C] each."""
    steps, faces = steps_to(generator, settings.side), float(len(codes[0]))
    fixed = [jt.array(code) for code in codes]
    moves = {i: jt.array(value) for i, value in change.items()}

    def drawn(styles: Sequence[jt.Var]) -> jt.Var:
        return picture_from(generator, 0, start(generator), styles, generator.noises.as_list(), steps)
    with jt.no_grad():
        before = drawn(fixed)
        seen = [guide.start(before) for guide in guides]
        person = recogniser(before).stop_grad() if settings.id_lambda else None
    images = drawn([code + moves[i] * jt.array(scales[i]) if i in moves else code for i, code in enumerate(fixed)])
    loss = sum(guide.distance(images, was) for guide, was in zip(guides, seen)) * (faces / len(guides))
    if person is not None:
        loss = loss + settings.id_lambda * identity(person, recogniser(images))
    found = jt.grad(loss, list(moves.values()))
    jt.sync(found)
    return {i: grad.numpy() for i, grad in zip(moves, found)}


# ---- Files ---------------------------------------------------------------------------------------------------------

def save_step(path: str | os.PathLike, generator: Generator, deltas: Styles, facts: Mapping[str, str]) -> None:
    """Write a direction as "S.0", ... [C] from coarse to fine, with its generator's hash and what is known of it."""
    tensors = {f"S.{i}": delta for i, delta in enumerate(in_file_order(generator, deltas))}
    write_safetensors(path, tensors, {**facts, "kind": KIND, "generator_sha256": generator_sha256(generator)})


def load_step(ref: str | os.PathLike, generators: Sequence[Generator]) -> tuple[Styles, dict[str, str]]:
    """Return the direction at `ref` and its file's facts; it must belong to one of `generators`: drawing, or source.

    Raises UserError when it is something else, has other layers, is not finite, or was found for another generator.
    """
    network, label = read_network(ref, kind=KIND), os.fspath(ref)
    facts = network.info.metadata
    require_generator(facts.get("generator_sha256", ""), generators, label, REMAKE)
    names = [f"S.{i}" for i in range(len(network.tensors))]
    if set(names) != set(network.tensors):
        raise UserError(f"{label} holds no direction: its tensors are not S.0, S.1, ...")
    deltas = in_our_order(generators[0], [network.tensors[name].reshape(-1) for name in names], label)
    if not all(np.isfinite(delta).all() for delta in deltas):
        raise UserError(f"{label}: a direction in it is not finite; find it again with edit fast")
    return deltas, dict(facts)


@dataclass(frozen=True)
class FoundEdit:
    """A direction from a file in place of one that is looked up in a dictionary; see `session.Edit`."""

    step: Step
    dictionary: Dictionary      # without a row: what the file says of itself
    neutral: str
    target: str

    def steps(self, size: int, betas: Sequence[float] | None) -> list[Step]:
        """Return the one step that there is."""
        return [self.step]

    def alpha(self, generator: Generator, step: Step) -> float:
        """Return the usual strength."""
        return STRENGTH


def found_edit(ref: str | os.PathLike, generators: Sequence[Generator]) -> FoundEdit:
    """Return the edit of a file that `edit fast` wrote; raises the UserErrors of `load_step`."""
    deltas, facts = load_step(ref, generators)
    told = {"way": "fast", "clips": facts.get("clip", "").split(), **facts}
    dictionary = Dictionary(np.zeros((0, 0), np.float32), (), told, os.fspath(ref))
    step = Step(deltas, sum(int((delta != 0).sum()) for delta in deltas), 0.0)
    return FoundEdit(step, dictionary, facts.get("neutral", ""), facts.get("prompt", ""))


def is_step(ref: str | os.PathLike) -> bool:
    """Tell whether a file is one direction, not a dictionary of them; any other file, or none, is not."""
    try:
        opened = open_network(find_file_set(locate(ref)))
    except UserError:
        return False
    return opened.found is not None and opened.found.layout.kind == KIND

"""StyleCLIP's latent optimisation (Patashnik et al. 2021, section 4): one code follows a prompt by gradient descent."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jittor_ipl.editing.codes import Faces, draw_codes, file_positions, layers_of, styles_of
from jittor_ipl.editing.guidance import Guide, Recogniser
from jittor_ipl.errors import UserError
from jittor_ipl.losses import identity, squared_length
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.train.optim import Adam
from jittor_ipl.train.projector import projector_rate

SPACES = ("W+", "S")
Watcher = Callable[[int, float, Sequence[np.ndarray]], None]      # steps done, loss before the last, codes


@dataclass(frozen=True)
class Descent:
    """The published settings of the optimisation; `free` asks for the prompt alone and starts from the mean face."""

    space: str = "W+"               # which codes move: W+, or S without the layers of ToRGB
    steps: int = 300
    lr: float = 0.1                 # at its highest
    l2_lambda: float = 0.008        # weight of the squared distance to the start
    id_lambda: float = 0.0          # weight of the identity loss
    rampup: float = 0.05            # part of the steps in which the rate rises
    rampdown: float = 0.25          # part of the steps in which it falls
    free: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.lr > 0 or min(self.l2_lambda, self.id_lambda) < 0:
            raise UserError(f"steps {self.steps}, lr {self.lr}, l2 {self.l2_lambda}, id {self.id_lambda}: steps and "
                            "the learning rate are positive, weights are not below 0")


def optimise(generator: Generator, start: Sequence[np.ndarray], guides: Sequence[Guide], settings: Descent,
             recogniser: Recogniser | None = None, watch: Watcher | None = None,
             units: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
    """Return codes near those of a face, `start`, whose picture shows more of the guides' prompt.

    start       [ws [B, n_latent, style_dim]], or S codes [B, C] in the order of `Generator.styles`; as the result
    guides      the mean of their distances is what falls
    recogniser  needed where `settings.id_lambda` is above 0
    watch       called after every step
    units       in which rate and distance count, as `deviations` gives them; the codes' own when None

    Raises UserError when the loss is not finite.
    """
    assert settings.free or not settings.id_lambda or recogniser, "an identity loss needs a recogniser"
    fixed = [jt.array(code.astype(np.float32)) for code in start]
    steps = {str(i): jt.zeros_like(fixed[i]) for i in _moving(generator, settings.space, len(start))}
    scales = None if units is None else [jt.array(unit) for unit in units]

    def codes() -> list[jt.Var]:
        moved = list(fixed)
        for name, step in steps.items():
            moved[int(name)] = fixed[int(name)] + (step if scales is None else step * scales[int(name)])
        return moved
    faces = float(len(start[0]))        # several are independent of each other: sums, not means
    with jt.no_grad():
        images = draw_codes(generator, fixed)
        seen = [guide.start(images) for guide in guides]
        person = recogniser(images).stop_grad() if settings.id_lambda and not settings.free else None
    adam = Adam(steps, settings.lr)
    for step in range(settings.steps):
        images = draw_codes(generator, codes())
        loss = sum(guide.distance(images, was) for guide, was in zip(guides, seen)) * (faces / len(guides))
        if not settings.free:
            loss = loss + settings.l2_lambda * squared_length(list(steps.values()))
        if person is not None:
            loss = loss + settings.id_lambda * faces * identity(person, recogniser(images))
        value = loss.item() / faces
        if not math.isfinite(value):
            raise UserError(f"the loss is not finite after {step} steps: lower --lr (now {settings.lr})")
        adam.minimise(loss, projector_rate(settings.lr, step / settings.steps, settings.rampdown, settings.rampup))
        if watch is not None:
            watch(step + 1, value, [code.numpy() for code in codes()])
    return [code.numpy() for code in codes()]


def _moving(generator: Generator, space: str, count: int) -> list[int]:
    """Return which codes move: all of W+, those of S that belong to no ToRGB."""
    if space == "W+":
        return list(range(count))
    assert count == len(layers_of(generator)), count
    return [place for place, layer in zip(file_positions(generator), layers_of(generator)) if not layer.rgb]


def start_of(faces: Faces, index: int, space: str) -> list[np.ndarray]:
    """Return the codes of one face to start from; UserError for W+ of a face that has S codes alone."""
    if space == "S":
        return [code[index:index + 1] for code in faces.styles]
    if faces.ws is None:
        raise UserError(f"{faces.names[index]} has S codes, which no W+ code need have: add --work-in-stylespace")
    return [faces.ws[index:index + 1]]


def mean_face(generator: Generator, samples: int, seed: int) -> Faces:
    """Return the mean face, from which free generation starts: the centre of truncation in all layers."""
    ws = generator.broadcast(generator.center(samples, seed)).numpy()
    return Faces(generator, styles_of(generator, ws), ("mean",), ws)

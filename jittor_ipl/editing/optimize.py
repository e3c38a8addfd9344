"""StyleCLIP's latent optimisation (Patashnik et al. 2021, section 4): one code follows a prompt by gradient descent."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jittor_ipl.editing.codes import Faces, draw_codes, file_positions, layers_of, styles_of
from jittor_ipl.editing.guidance import Guide, Recogniser
from jittor_ipl.errors import UserError
from jittor_ipl.losses import identity, mean_square, squared_length
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.train.optim import Adam
from jittor_ipl.train.projector import projector_rate

SPACES = ("W+", "S")
_APART = 3.0        # cost of a layer's own step, times that of the common one
Watcher = Callable[[int, float, Sequence[np.ndarray]], None]      # steps done, loss before the last, codes


@dataclass(frozen=True)
class Descent:
    """The published settings of the optimisation; `free` asks for the prompt alone and starts from the mean face."""

    space: str = "W+"               # which codes move: W+, or S without the layers of ToRGB
    steps: int = 300
    lr: float = 0.1                 # at its highest
    l2_lambda: float = 0.008        # weight of the squared distance to the start
    id_lambda: float = 0.0          # weight of the identity loss
    pixel_lambda: float = 0.0       # weight of the mean squared change of the picture; not published
    noise: float = 0.0              # on steps along principal directions, as the projector's on w; not published
    rampup: float = 0.05            # part of the steps in which the rate rises
    rampdown: float = 0.25          # part of the steps in which it falls
    free: bool = False

    def __post_init__(self) -> None:
        weights = {"l2": self.l2_lambda, "id": self.id_lambda, "pixels": self.pixel_lambda, "noise": self.noise}
        if self.steps < 1 or not self.lr > 0 or min(weights.values()) < 0:
            told = ", ".join(f"{name} {weight}" for name, weight in weights.items())
            raise UserError(f"steps {self.steps}, lr {self.lr}, {told}: steps and the learning rate are positive, "
                            "weights are not below 0")


class Moves:
    """The steps that codes take: each number by itself, or along principal directions of faces.

    Along directions [K, dim] a layer, the step is one that all layers share, and one of each. The latter costs
    `_APART` times as much, as in e4e (Tov et al. 2021): layers that are far apart draw no face any more.
    """

    def __init__(self, fixed: Sequence[jt.Var], moving: Sequence[int], directions: Sequence[np.ndarray] | None):
        self.fixed, self.directions = list(fixed), None
        if directions is None:
            self.steps = {str(i): jt.zeros_like(fixed[i]) for i in moving}
            return
        self.directions = [jt.array(rows) for rows in directions]
        self.layers = fixed[0].shape[1] if fixed[0].ndim == 3 else len(fixed)
        count, faces = len(directions[0]), fixed[0].shape[0]
        self.steps = {"common": jt.zeros((faces, 1, count)), "apart": jt.zeros((faces, self.layers, count))}

    def codes(self, noise: np.ndarray | None = None) -> list[jt.Var]:
        """Return the codes where they are now; noise [K] is added to the common step."""
        if self.directions is None:
            return [code + self.steps[str(i)] if str(i) in self.steps else code for i, code in enumerate(self.fixed)]
        along = self.steps["common"] + self.steps["apart"]
        along = along if noise is None else along + jt.array(noise.astype(np.float32))
        if self.fixed[0].ndim == 3:
            return [self.fixed[0] + jt.matmul(along, self.directions[0])]
        return [code + jt.matmul(along[:, i], rows) for i, (code, rows) in enumerate(zip(self.fixed, self.directions))]

    def length(self) -> jt.Var:
        """Return the squared distance from the start."""
        if self.directions is None:
            return squared_length(list(self.steps.values()))
        common, apart = (squared_length([self.steps[name]]) for name in ("common", "apart"))
        return self.layers * common + _APART * apart


def optimise(generator: Generator, start: Sequence[np.ndarray], guides: Sequence[Guide], settings: Descent,
             recogniser: Recogniser | None = None, watch: Watcher | None = None,
             directions: Sequence[np.ndarray] | None = None) -> list[np.ndarray]:
    """Return codes near those of a face, `start`, whose picture shows more of the guides' prompt.

    start       [ws [B, n_latent, style_dim]], or S codes [B, C] in the order of `Generator.styles`; as the result
    guides      the mean of their distances is what falls
    recogniser  needed where `settings.id_lambda` is above 0
    watch       called after every step
    directions  along which codes move, in parts of their lengths, as `principal` gives them; along all when None.
                Free generation, too, then keeps its distance to the start small, the mean face

    Raises UserError when the loss is not finite.
    """
    assert settings.free or not settings.id_lambda or recogniser, "an identity loss needs a recogniser"
    assert directions is not None or not settings.noise, "noise goes along directions"
    fixed = [jt.array(code.astype(np.float32)) for code in start]
    moves = Moves(fixed, _moving(generator, settings.space, len(start)), directions)
    faces = float(len(start[0]))        # several are independent of each other: sums, not means
    with jt.no_grad():
        before = draw_codes(generator, fixed).stop_grad()
        seen = [guide.start(before) for guide in guides]
        person = recogniser(before).stop_grad() if settings.id_lambda and not settings.free else None
    adam = Adam(moves.steps, settings.lr)
    for step in range(settings.steps):
        images = draw_codes(generator, moves.codes(_noise(settings, step, directions)))
        loss = sum(guide.distance(images, was) for guide, was in zip(guides, seen)) * (faces / len(guides))
        if not settings.free or directions is not None:     # along directions it says how likely a face is
            loss = loss + settings.l2_lambda * moves.length()
        if settings.pixel_lambda and not settings.free:
            loss = loss + settings.pixel_lambda * faces * mean_square([images - before])
        if person is not None:
            loss = loss + settings.id_lambda * faces * identity(person, recogniser(images))
        value = loss.item() / faces
        if not math.isfinite(value):
            raise UserError(f"the loss is not finite after {step} steps: lower --lr (now {settings.lr})")
        adam.minimise(loss, projector_rate(settings.lr, step / settings.steps, settings.rampdown, settings.rampup))
        if watch is not None:
            watch(step + 1, value, [code.numpy() for code in moves.codes()])
    return [code.numpy() for code in moves.codes()]


def _noise(settings: Descent, step: int, directions: Sequence[np.ndarray] | None) -> np.ndarray | None:
    """Return the noise [K] of a step, the same for every face, which fades to none at three quarters of the steps."""
    strength = settings.noise * max(0.0, 1.0 - step / settings.steps / 0.75)
    if not strength:
        return None
    return strength * rng(0, "optimise", step).standard_normal(len(directions[0]))


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

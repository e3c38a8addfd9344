"""From pictures to a tuned generator and codes: encoder, projector and pivotal tuning, one after the other."""
from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.images.pixels import to_uint8
from jittor_ipl.inversion.matching import Matching, Perceptual
from jittor_ipl.inversion.projection import Projection, project
from jittor_ipl.inversion.tuning import Tuning, tune
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.memory import lack_as_user_error
from jittor_ipl.weights.tuned import Tuned

Encode = Callable[[np.ndarray], np.ndarray]     # picture float32 [1, 3, H, W] in [-1, 1] -> ws [n_latent, style_dim]
Tick = Callable[[str, int, int], object]        # called with what is going on, steps done and steps in all


@dataclass(frozen=True)
class Tools:
    """What inverts: the generator, the network behind the losses, and an encoder or none."""

    generator: Generator
    network: Perceptual
    encode: Encode | None = None


@dataclass
class Inverted:
    """Pictures in a generator.

    tuned     the generator that draws them from their codes, the one that was given where nothing was tuned
    stages    their pictures uint8 [N, H, W, 3] after each stage that took place: "encoder", "projection", "tuning"
    seconds   that each stage took, for all pictures together
    """

    tuned: Tuned
    stages: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def untuned(self) -> np.ndarray:
        """The pictures of the codes in the generator as it was."""
        return self.stages["projection" if "projection" in self.stages else "encoder"]

    @property
    def final(self) -> np.ndarray:
        """The pictures after the last stage."""
        return self.stages.get("tuning", self.untuned)


def invert(tools: Tools, names: tuple[str, ...], pictures: np.ndarray, projection: Projection, tuning: Tuning,
           tick: Tick = lambda what, step, steps: None) -> Inverted:
    """Invert pictures float32 [N, 3, H, W] in [-1, 1] of the generator's size; stages of 0 steps are left out.

    Codes are found picture by picture, so that none depends on its company; the tuning is common to all. Raises
    UserError where there is neither an encoder nor a step of projection, and for noise maps of several pictures.
    """
    size = tools.generator.size
    assert pictures.shape[1:] == (3, size, size) and len(names) == len(pictures), pictures.shape
    check(tools, len(names), projection)
    with lack_as_user_error(f"inversion at {size} px", "free some memory, or leave the tuning out"):
        return _stages(tools, names, pictures, projection, tuning, tick)


def check(tools: Tools, together: int, projection: Projection) -> None:
    """Raise UserError for settings with which `invert` finds nothing, or not for so many pictures `together`."""
    if tools.encode is None and not projection.steps:
        raise UserError("nothing finds a code without an encoder and without steps of projection: give one of them")
    if projection.maps and together > 1:
        raise UserError("noise maps belong to one picture: invert these one by one, or keep the generator's")


def _stages(tools: Tools, names: tuple[str, ...], pictures: np.ndarray, projection: Projection, tuning: Tuning,
            tick: Tick) -> Inverted:
    generator, result = tools.generator, Inverted(Tuned(tools.generator, np.zeros((0, 0, 0)), names))
    matchings = [Matching(jt.array(picture[None]), tools.network, tuning.pixels, tuning.perceptual)
                 for picture in pictures]
    codes: list[np.ndarray] | None = None

    def finish(stage: str, began: float, drawing: Generator) -> None:
        result.seconds[stage] = time.monotonic() - began
        result.stages[stage] = drawn(drawing, np.stack(codes))
        result.tuned = Tuned(drawing, np.stack(codes), names)
    if tools.encode is not None:
        began = time.monotonic()
        codes = [tools.encode(picture[None]) for picture in pictures]
        finish("encoder", began, generator)
    if projection.steps:
        began, found = time.monotonic(), []
        for index, matching in enumerate(matchings):
            found.append(project(generator, matching, projection, codes[index] if codes else None,
                                 lambda step, _, name=names[index]: tick(f"{name}: code", step, projection.steps)))
        codes = [one.latent for one in found]
        if projection.maps:
            generator = with_maps(generator, found[0].maps)
        finish("projection", began, generator)
    if tuning.steps:
        began = time.monotonic()
        tuned = tune(generator, np.stack(codes), matchings, tuning,
                     lambda step, _: tick(f"{', '.join(names)}: tuning", step, tuning.steps))
        finish("tuning", began, tuned)
    return result


def with_maps(generator: Generator, maps: tuple[np.ndarray, ...]) -> Generator:
    """Return a copy of the generator with these noise maps [1, 1, r, r] as its own."""
    twin = generator.copy()
    twin.latent_avg = generator.latent_avg
    twin.put({f"noises.noise_{index}": noise for index, noise in enumerate(maps)})
    return twin


def drawn(generator: Generator, latents: np.ndarray) -> np.ndarray:
    """Return the pictures uint8 [N, H, W, 3] of codes [N, n_latent, style_dim], a pass each; UserError if not finite.
    """
    made = []
    for code in latents:
        with jt.no_grad():
            image = generator.synthesis(jt.array(code[None].astype(np.float32))).numpy()[0]
        if not np.isfinite(image).all():
            raise UserError("a reconstruction is not finite: lower the learning rate of the tuning or the projection")
        made.append(to_uint8(image))
    return np.stack(made)


def mean_picture(generator: Generator, projection: Projection) -> np.ndarray:
    """Return the picture uint8 [H, W, 3] of the mean w, from which a projection without an encoder starts."""
    centre = generator.mean_latent(projection.samples, projection.seed)
    return drawn(generator, generator.broadcast(centre).numpy())[0]

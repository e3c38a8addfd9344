"""StyleCLIP's latent mapper (Patashnik et al. 2021, section 5): a small network that edits any face for one prompt."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jittor_ipl.editing.codes import (
    Faces,
    Styles,
    as_styles,
    draw_codes,
    faces_of_seeds,
    file_positions,
    layers_of,
)
from jittor_ipl.editing.deviations import in_deviations
from jittor_ipl.editing.guidance import Guide, Recogniser
from jittor_ipl.errors import UserError
from jittor_ipl.losses import identity, mean_square
from jittor_ipl.models.latent_mappers import (
    PUBLISHED_LEVELS,
    SHARE,
    LatentMapper,
    LatentMapperConfig,
    StyleMapper,
)
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.train.optim import Adam
from jittor_ipl.train.ranger import Ranger
from jittor_ipl.train.state import Loop, Weights

OPTIMISERS = {"ranger": Ranger, "adam": Adam}


@dataclass(frozen=True)
class MapperSettings:
    """How a latent mapper trains; the numbers are the published ones."""

    steps: int = 50_000
    batch: int = 2
    lr: float = 0.5
    optimiser: str = "ranger"       # or "adam"
    clip_lambda: float = 1.0
    l2_lambda: float = 0.8          # weight of the mean squared change of the codes
    id_lambda: float = 0.1          # weight of the identity loss
    pixel_lambda: float = 0.0       # weight of the mean squared change of the picture; not published
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch) < 1 or not self.lr > 0:
            raise UserError(f"steps {self.steps}, batch {self.batch} and learning rate {self.lr} must be positive")
        weights = {"clip": self.clip_lambda, "l2": self.l2_lambda, "id": self.id_lambda, "pixels": self.pixel_lambda}
        if min(weights.values()) < 0 or not self.clip_lambda:
            told = ", ".join(f"{name} {weight}" for name, weight in weights.items())
            raise UserError(f"weights {told}: none may be below 0, and without the first nothing asks for a change")


def config_for(generator: Generator, mapper_type: str, without: Sequence[str] = (),
               norm: str = "codes") -> LatentMapperConfig:
    """Return the numbers of a mapper for this generator; `without`: of "course", "medium", "fine" those left out."""
    levels = tuple(level for level in PUBLISHED_LEVELS if level not in without)
    full = mapper_type == "FullStyleSpaceMapper"
    widths = {str(i): layer.channels for i, layer in enumerate(layers_of(generator)) if full or not layer.rgb}
    return LatentMapperConfig(mapper_type, generator.style_dim, levels, widths, norm)


def moved(generator: Generator, mapper: LatentMapper, codes: Sequence[jt.Var], strength: float = 1.0) -> list[jt.Var]:
    """Return codes + 0.1 * strength * mapper(codes): [ws [B, n_latent, style_dim]], or S as `Generator.styles` has it.

    Strength 1 is the published edit; 0 changes nothing. UserError for codes of another shape than the mapper's.
    """
    if not isinstance(mapper, StyleMapper):
        ws, = codes
        return [ws + mapper(ws) * (SHARE * strength)]
    places = file_positions(generator)
    changes = mapper([codes[place] for place in places])
    new = list(codes)
    for place, change in zip(places, changes):
        new[place] = codes[place] + change * (SHARE * strength)
    return new


def codes_of(faces: Faces, mapper: LatentMapper) -> list[np.ndarray]:
    """Return the codes of faces that a mapper reads; UserError for S codes where it reads W+."""
    if isinstance(mapper, StyleMapper):
        return list(faces.styles)
    if faces.ws is None:
        raise UserError(f"{faces.names[0]} has S codes, this mapper reads W+: give W or W+ codes, or seeds")
    return [faces.ws]


def edit_faces(faces: Faces, mapper: LatentMapper, strength: float = 1.0) -> tuple[list[np.ndarray], Styles]:
    """Return the edited codes of faces, of the kind that the mapper reads, and their S codes, one face a pass."""
    given, rows = codes_of(faces, mapper), []
    with jt.no_grad():
        for i in range(len(faces.names)):
            rows.append(moved(faces.generator, mapper, [jt.array(code[i:i + 1]) for code in given], strength))
        jt.sync([code for row in rows for code in row])
    codes = [np.concatenate([code.numpy() for code in column]) for column in zip(*rows)]
    return codes, as_styles(faces.generator, codes)


def drawn_faces(generator: Generator, settings: MapperSettings, psi: float,
                center: jt.Var | None) -> Callable[[int], Faces]:
    """Return what draws the faces of a step: new ones every time, truncated as pictures are."""
    def of_step(step: int) -> Faces:
        seeds = rng(settings.seed, "mapper.seeds", step).integers(0, 2**32, settings.batch)
        return faces_of_seeds(generator, [int(seed) for seed in seeds], psi, center)
    return of_step


def listed_faces(faces: Faces, settings: MapperSettings) -> Callable[[int], Faces]:
    """Return what draws the faces of a step from those of a file, each as often as any other."""
    def of_step(step: int) -> Faces:
        first = step * settings.batch
        return faces.take([_shuffled(len(faces.names), settings.seed, place) for place in
                           range(first, first + settings.batch)])
    return of_step


def _shuffled(count: int, seed: int, place: int) -> int:
    """Return which of `count` stands at a place of endless shuffles, one after the other."""
    return int(rng(seed, "mapper.order", place // count).permutation(count)[place % count])


def train_latent_mapper(generator: Generator, mapper: LatentMapper, faces: Callable[[int], Faces],
                        guides: Sequence[Guide], settings: MapperSettings, recogniser: Recogniser | None = None,
                        loop: Loop | None = None, units: Sequence[np.ndarray] | None = None) -> None:
    """Train `mapper` in place until edited faces show the guides' prompt and stay near what they were.

    faces       gives the faces of a step, counted from 0
    recogniser  needed where `settings.id_lambda` is above 0
    loop        resumes and reports; a plain one by default
    units       in which the change of the codes counts, as `deviations` gives them; the codes' own when None
    """
    assert not settings.id_lambda or recogniser, "an identity loss needs a recogniser"
    params = named_tensors(mapper)
    optimiser = OPTIMISERS[settings.optimiser](params, settings.lr)
    loop = loop or Loop()
    for step in loop.steps(settings.steps, mapper=Weights(params), optimiser=optimiser):
        codes = [jt.array(code) for code in codes_of(faces(step), mapper)]
        new = moved(generator, mapper, codes)
        images = draw_codes(generator, new)
        with jt.no_grad():
            before = draw_codes(generator, codes)       # not computed where nothing looks at it
        seen = sum(guide.distance(images, guide.start(before)) for guide in guides) / float(len(guides))
        change = mean_square(in_deviations([b - a for a, b in zip(codes, new)], units))
        loss, person = settings.clip_lambda * seen + settings.l2_lambda * change, None
        if settings.pixel_lambda:
            loss = loss + settings.pixel_lambda * mean_square([images - before.stop_grad()])
        if settings.id_lambda:
            with jt.no_grad():
                was = recogniser(before).stop_grad()
            person = identity(was, recogniser(images))
            loss = loss + settings.id_lambda * person
        optimiser.minimise(loss)
        loop.done({"loss": loss.item(), "clip": seen.item(), "l2": change.item(), "lr": settings.lr,
                   **({} if person is None else {"id": person.item()})})

"""What the actions of `edit` share: which generator, whose faces, under which names the tools before have these."""
from __future__ import annotations

from collections.abc import Callable, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jittor_ipl.commands import options
from jittor_ipl.errors import UserError

if TYPE_CHECKING:
    from jittor_ipl.editing.codes import Faces
    from jittor_ipl.models.stylegan2.generator import Generator
    from jittor_ipl.runtime.backend import jt
    from jittor_ipl.submission.sets import SetEntry
    from jittor_ipl.weights.latent_mapper import StoredMapper

DEMO = "demo:generator"
# What a weight file of ours says itself, and PaddleGAN's and StyleCLIP's command lines give: checked, not needed.
NUMBERS = {"size": "Side of its pictures.", "style-dim": "Numbers in w.", "n-mlp": "Layers of its mapping network.",
           "channel-multiplier": "2 for config-f, 1 for config-e."}
_CHECKED: dict[str, Any] = {"cls": options.Option, "heading": "numbers of the generator (its file says them; checked "
                                                             "when given)"}


def generator_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate an action with the options that name a generator: `weights`, `style`, `source`, `numbers` of it."""
    for name, text in reversed(NUMBERS.items()):
        names = (f"--{name}", *(["--stylegan-size"] if name == "size" else []))
        function = click.option(*names, type=options.positive, metavar="N", help=text, **_CHECKED)(function)
    function = click.option("--model-type", metavar="NAME", help="Read from the weight file.", **_CHECKED)(function)
    function = click.option("--cpu", is_flag=True, help="The default; --device cuda asks for a GPU.",
                            **_CHECKED)(function)
    function = click.option("--source", metavar="FILE", help="Source generator of a delta file.")(function)
    function = click.option("--style", metavar="NAME", help="Which style of a suite folder.")(function)
    return click.option("--weights", "--network", "--weight-path", "--stylegan-weights", "--ckpt", default=DEMO,
                        type=options.shipped, metavar="WHAT",
                        help="Generator: weight file, demo:<name>, run folder, B_weight/<suite>/<NN>, or suite folder "
                             "with --style.")(function)


def face_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate an action with `generator_options` and the options that say whose faces: `seeds`, `latent`."""
    function = click.option("--truncation", "--trunc", "--truncation-psi", "--psi", type=float, metavar="PSI",
                            help="Of seeds.  [default: the style's, else 0.7]")(function)
    function = click.option("--latent", "--latent-path", "--latents", metavar="FILE",
                            help="Faces of these W, W+ or S codes, in place of seeds.")(function)
    function = click.option("--seeds", "--seed", metavar="LIST", help="Faces of these seeds: 0,1,5-10  [default: 0-3]"
                            )(function)
    return generator_options(function)


@dataclass(frozen=True)
class OpenedGenerator:
    """A generator, where it came from, and the source that it was adapted from (itself, when it was not)."""

    generator: Generator
    source: Generator
    entry: SetEntry

    @property
    def name(self) -> str:
        """Return what files and sheets call it: the style's name, or the weight file's."""
        return self.entry.plan.style

    def center(self) -> jt.Var | None:
        """Return the centre of truncation [1, style_dim], as its style measures it; None where nothing is truncated."""
        recipe = self.entry.plan.recipe
        return None if recipe.truncation == 1 else self.generator.center(recipe.mean_latent_samples,
                                                                         recipe.mean_latent_seed)


def open_generator(weights: str, *, style: str | None = None, source: str | None = None,
                   truncation: float | None = None, **numbers: Any) -> OpenedGenerator:
    """Load the generator that `generator_options` name; UserError when it is none, or its numbers are other ones."""
    from jittor_ipl.submission.produce import load, source_of
    from jittor_ipl.submission.sets import open_one
    entry = open_one(weights, "0", style=style, source=source, truncation=truncation)
    generator = load(entry)
    _check_numbers(generator, weights, {name: value for name, value in numbers.items()
                                        if value is not None and name.replace("_", "-") in NUMBERS})
    of_itself = entry.plan.source == weights
    return OpenedGenerator(generator, generator if of_itself else source_of(entry.plan.source), entry)


def open_faces(opened: OpenedGenerator, seeds: str | None, latent: str | None) -> Faces:
    """Return the faces that `face_options` name, of seeds 0 to 3 where they name none; UserError for both at once."""
    from jittor_ipl.editing.codes import faces_of_file, faces_of_seeds
    from jittor_ipl.runtime.streams import parse_seeds
    if seeds is not None and latent is not None:
        raise UserError("--seeds and --latent both say whose faces: give one of them")
    if latent is not None:
        return faces_of_file(opened.generator, latent)
    truncation = opened.entry.plan.recipe.truncation
    return faces_of_seeds(opened.generator, parse_seeds(seeds or "0-3"), truncation, opened.center())


def count_of(faces: Sized) -> str:
    """Return how many faces there are, in words."""
    return "1 face" if len(faces) == 1 else f"{len(faces)} faces"


def open_mapper(ref: str) -> StoredMapper:
    """Return the latent mapper of a run folder of train-mapper or of a file; UserError where there is none."""
    from jittor_ipl.disk.layout import MAPPER
    from jittor_ipl.weights.latent_mapper import load_latent_mapper
    inside = Path(ref) / MAPPER
    return load_latent_mapper(inside if inside.is_file() else ref)


def _check_numbers(generator: Generator, label: str, given: dict[str, int]) -> None:
    """Raise UserError for a number that is not this generator's."""
    config = generator.config
    for name, value in given.items():
        if name == "channel_multiplier":
            from jittor_ipl.models.stylegan2.config import default_channels
            if default_channels(config.size, value) != config.channels:
                raise UserError(f"--channel-multiplier {value}: {label} has other channels; leave the option out, the "
                                "weight file says them")
        elif getattr(config, name) != value:
            raise UserError(f"--{name.replace('_', '-')} {value}: {label} has {getattr(config, name)}; leave the "
                            "option out, the weight file says it")

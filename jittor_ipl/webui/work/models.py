"""What the worker keeps: generators, of which the one longest unused goes, and small networks, which all stay."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

from jittor_ipl.adaptation.render import Recipe
from jittor_ipl.editing.movie import mixed
from jittor_ipl.models.strict import numpy_tensors
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.submission.produce import load
from jittor_ipl.webui.catalogue import Domain, StyleChoice
from jittor_ipl.weights.generator import keep_center, load_generator

Made = TypeVar("Made")
MOST_SMALL = 64         # dictionaries, steps and strengths of edits


class Models:
    """At most `most` generators, sources and adapted ones alike. Nobody may change what it hands out."""

    def __init__(self, most: int):
        self.most = max(2, most)
        self._generators: OrderedDict[str, Generator] = OrderedDict()
        self._small: OrderedDict[Hashable, object] = OrderedDict()

    def source(self, subject: Domain) -> Generator:
        """Return the generator of a subject."""
        return self._generator(subject.source, lambda: load_generator(subject.source), Recipe())

    def style(self, subject: Domain, style: StyleChoice, strength: float = 1.0) -> Generator:
        """Return a style's generator; other strengths than 1 mix its weights with the source's.

        0 gives the source, above 1 goes beyond the style. Mixed ones are not kept: a slider has many places.
        """
        if strength == 0:
            return self.source(subject)
        key = style.entry.weights_sha256 or f"{style.entry.weights}@{style.entry.weights.stat().st_mtime_ns}"
        adapted = self._generator(key, lambda: load(style.entry), style.entry.plan.recipe)
        return adapted if strength == 1 else blended(self.source(subject), adapted, strength)

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """Return what `make` gave under this key before, or gives now."""
        return self._kept(self._small, key, make, MOST_SMALL)

    def _generator(self, key: str, make: Callable[[], Generator], recipe: Recipe) -> Generator:
        def centred() -> Generator:
            generator = make()
            # Measured once, and not anew for every picture: thousands of passes through the mapping network.
            generator.latent_avg = generator.center(recipe.mean_latent_samples, recipe.mean_latent_seed).numpy()[0]
            return generator
        return self._kept(self._generators, key, centred, self.most)

    def _kept(self, kept: OrderedDict, key: Hashable, make: Callable[[], Made], most: int) -> Made:
        if key not in kept:
            kept[key] = make()
        kept.move_to_end(key)
        while len(kept) > most:
            kept.popitem(last=False)
        return kept[key]


def blended(source: Generator, adapted: Generator, strength: float) -> Generator:
    """Return a generator whose weights lie between those of two: (1 - strength) source + strength adapted.

    Its centre of truncation is theirs while both have the same mapping network.
    """
    target, twin = numpy_tensors(adapted), source.copy()
    twin.put({name: mixed(value, target[name], strength) for name, value in numpy_tensors(source).items()
              if not name.endswith(".kernel")})
    keep_center(twin, source)
    return twin

"""Generators that the worker keeps: each is loaded when first asked for, and the one longest unused goes."""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from jittor_ipl.editing.movie import mixed
from jittor_ipl.models.strict import numpy_tensors
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.submission.produce import load, source_of
from jittor_ipl.webui.catalogue import Domain, StyleChoice


class Models:
    """At most `most` generators; sources and adapted ones count alike. Nobody may change what it hands out."""

    def __init__(self, most: int):
        self.most, self._kept = max(2, most), OrderedDict()

    def source(self, subject: Domain) -> Generator:
        """Return the generator of a subject."""
        return self._get(subject.source, lambda: source_of(subject.source))

    def style(self, subject: Domain, style: StyleChoice, strength: float = 1.0) -> Generator:
        """Return a style's generator; other strengths than 1 mix its weights with the source's.

        0 gives the source, above 1 goes beyond the style. Mixed ones are not kept: a slider has many places.
        """
        if strength == 0:
            return self.source(subject)
        key = style.entry.weights_sha256 or f"{style.entry.weights}@{style.entry.weights.stat().st_mtime_ns}"
        adapted = self._get(key, lambda: load(style.entry))
        return adapted if strength == 1 else blended(self.source(subject), adapted, strength)

    def _get(self, key: str, make: Callable[[], Generator]) -> Generator:
        if key not in self._kept:
            self._kept[key] = make()
        self._kept.move_to_end(key)
        while len(self._kept) > self.most:
            self._kept.popitem(last=False)
        return self._kept[key]


def blended(source: Generator, adapted: Generator, strength: float) -> Generator:
    """Return a generator whose weights lie between those of two: (1 - strength) source + strength adapted."""
    target = numpy_tensors(adapted)
    twin = source.copy()
    twin.latent_avg = source.latent_avg
    twin.put({name: mixed(value, target[name], strength) for name, value in numpy_tensors(source).items()
              if not name.endswith(".kernel")})
    return twin

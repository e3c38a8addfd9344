"""One network from a file or folder, in any known dialect, under our names: what every loader builds on.

Where in a file the network lies is told by its names and shapes, whatever key or prefix it lies under.
"""
from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.lazy import FileInfo, LazyTensors
from jittor_ipl.weights.containers.limits import UnsafeWeightsError, shown
from jittor_ipl.weights.containers.read import WeightFile
from jittor_ipl.weights.families import registry
from jittor_ipl.weights.families.family import Hints, Layout
from jittor_ipl.weights.folder import FileSet, find_file_set, open_file_set
from jittor_ipl.weights.refs import locate, split_place

_FEWEST = 4             # tensors of a network; fewer are loose ones: a loss, a step, a mean latent
_MAX_PLACES = 300
_LITTLE = 0.2           # of a network's tensors that may be wrong while it is still told as that network


@dataclass(frozen=True)
class StoredNetwork:
    """A network's tensors under our names, how its file was laid out, and what kind of file that was."""

    tensors: dict[str, np.ndarray]
    layout: Layout
    info: FileInfo


def read_network(ref: str | os.PathLike, *, kind: str | tuple[str, ...] = (),
                 container: str | None = None) -> StoredNetwork:
    """Read the one network at `ref` (a file, a folder or `demo:<name>`, see `refs`), strictly checked, under our names.

    `kind` (one or several) refuses every other kind of network. Raises UserError when there is none or more than one,
    when it is of another kind or says so itself, or when any tensor is missing, extra or mis-shaped.
    """
    path, (_, place) = locate(ref), split_place(ref)
    opened = open_network(find_file_set(path), container or place, kind)
    ours, info, layout = opened.under_our_names(str(path)), opened.info, opened.network(str(path)).layout
    stated = info.metadata.get("kind", "").replace("_", "-")
    if kind and stated not in ("", layout.kind):
        raise UserError(f"{path}: its metadata calls it {stated[:40]!r}, its tensors are those of {layout.kind!r}")
    return StoredNetwork(ours, layout, info)


def kind_of(ref: str | os.PathLike, kinds: tuple[str, ...]) -> str:
    """Return which of `kinds` the network at `ref` is, told by names and shapes alone; UserError as `read_network`."""
    path, (_, place) = locate(ref), split_place(ref)
    return open_network(find_file_set(path), place, kinds).network(str(path)).layout.kind


class Opened(NamedTuple):
    """What lies at one place of a weight file, and which network that is: `found`, or None and in `unknown` why."""

    tensors: LazyTensors
    info: FileInfo
    hints: Hints
    found: registry.Recognised | None = None
    unknown: UserError | None = None

    def network(self, label: str) -> registry.Recognised:
        """Return the recognised network; raises UserError, with the file's name, when there is none."""
        if self.found is None:
            raise UserError(f"{label}: {self.unknown}") from self.unknown
        return self.found

    def in_the_file(self, label: str) -> LazyTensors:
        """Return the tensors under our names without reading any, of a family that only renames; else as below."""
        found = self.network(label)
        assert found.family.convert is None, found.family.kind
        mine = registry.fitting(found, self.tensors, source=label, extras=self.info.extras)
        return mine.renamed({found.family.our_name(name): name for name in found.layout.expected})

    def under_our_names(self, label: str) -> dict[str, np.ndarray]:
        """Return the tensors under our names, strictly checked; raises UserError, with the file's name."""
        return registry.converted(self.network(label), self.tensors, source=label, extras=self.info.extras)


def open_network(files: FileSet, place: str | None = None, kind: str | tuple[str, ...] = ()) -> Opened:
    """Return the network at `place` of a file (see `WeightFile`), by default where programs keep it.

    Where none is known there, the only place where a whole known network lies is taken (of a `kind`, when one or
    several are given); the rest is among the extras and what is skipped. Raises UserError when several places hold one.
    """
    kinds = (kind,) if isinstance(kind, str) else kind
    opened, best, nowhere = open_file_set(files), None, None
    try:
        tensors, info = opened.at(place)
        best = recognised(tensors, info, hints_of(files, info), kinds)
    except UnsafeWeightsError:
        raise
    except UserError as error:
        nowhere = error
    loose = best is not None and len(best.tensors) < _FEWEST and (best.found is None or best.found.problems > 0)
    if place is None and (best is None or isinstance(best.unknown, registry.UnknownNetwork) or loose):
        claims = sorted(_claims(opened, files, kinds), key=lambda one: one.found.problems)
        whole = [one for one in claims if not one.found.problems]
        if len(whole) > 1:
            named = ", ".join(f"{shown(one.info.container, 60)!r} ({one.found.layout.kind})" for one in whole[:8])
            raise UserError(f"{files.path} holds several networks: {named}; "
                            f"name one of them, as {files.path}#{shown(whole[0].info.container, 60)}")
        # Without a whole one the strict check of the nearest says what is wrong with it.
        best = next(iter(claims), best)
    if best is None:
        raise nowhere
    return best


def recognised(tensors: LazyTensors, info: FileInfo, hints: Hints, kinds: tuple[str, ...] = ()) -> Opened:
    """Return tensors together with the network that they are, or why they are none."""
    try:
        return Opened(tensors, info, hints, registry.identify(tensors.shapes, hints, kinds))
    except UserError as error:
        return Opened(tensors, info, hints, unknown=error)


def _claims(opened: WeightFile, files: FileSet, kinds: tuple[str, ...]) -> Iterator[Opened]:
    """Yield every place with a known network that is whole or lacks little, none inside a whole one."""
    outer: list[str] = []
    for place in opened.places(_FEWEST)[:_MAX_PLACES]:
        if place.startswith(tuple(outer)):
            continue
        tensors, info = opened.at(place)
        hints = hints_of(files, info)
        with suppress(UserError):       # what contradicts itself is none
            found = registry.closest(tensors.shapes, hints, registry.families(kinds or registry.MODULES))
            if found is not None and found.problems <= len(found.layout.expected) * _LITTLE:
                outer += [] if found.problems else [f"{place}." if place else ""]
                yield Opened(tensors, info, hints, found)


def hints_of(files: FileSet, info: FileInfo) -> Hints:
    """Return what is known about a read file beside its tensors; its metadata are about the whole file alone."""
    metadata = {} if info.container else info.metadata
    return Hints(info.format, info.container, metadata, files.config, info.extras.shapes, info.values,
                 files.path.name.split(".")[0], info.skipped)

"""Every family of networks whose files are understood, and the one way from a file's tensors to ours.

A module here exposes FAMILY, or FAMILIES for several; its name stands in `MODULES`. Nothing here imports Jittor.
"""
from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from types import MappingProxyType
from typing import NoReturn

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.strict import compare, count_problems, require_fit
from jittor_ipl.weights.families.family import Family, Hints, Layout, Shapes, Tensors, metadata_config

# In the order in which they are asked; among those that claim a file the one with the fewest problems wins.
MODULES = ("own_files", "stylegan2.family", "prompt_mapper", "clip.family", "stylegan2.styleclip", "stylegan2.latents",
           "inversion", "features.arcface", "features.inception", "features.lpips", "features.dinov2", "diffusion.family",
           "lora.family")
_SHOWN = 5              # kinds of networks named in a message when none is near
_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "generator.", "g_ema.", "state_dict.")   # what DataParallel, torch.compile, Lightning add


@dataclass(frozen=True)
class Recognised:
    """A family, the layout it found, and the prefix that all names of the file carry ("" or a wrapper's "module.")."""

    family: Family
    layout: Layout
    prefix: str = ""


@cache
def families() -> tuple[Family, ...]:
    """Return all families; imported on first use."""
    modules = [importlib.import_module(f"jittor_ipl.weights.families.{name}") for name in MODULES]
    return tuple(family for module in modules for family in getattr(module, "FAMILIES", None) or (module.FAMILY,))


def recognise(shapes: Shapes, hints: Hints = Hints()) -> Layout:
    """Return the layout of a file with these tensors; UserError that names the nearest family when none claims it."""
    return identify(shapes, hints).layout


def identify(shapes: Shapes, hints: Hints = Hints(), kind: str | None = None) -> Recognised:
    """Return family and layout of a file with these tensors (only families of `kind` are asked when it is given).

    A prefix that a wrapper put before every name is taken off. Raises UserError that names the nearest family.
    """
    candidates = [family for family in families() if kind in (None, family.kind)]
    converted = _converted(shapes, hints, candidates)
    try:
        problems, found = _by_names(shapes, hints, candidates)
    except UserError:
        if converted is None:
            raise
        return converted
    if converted is not None and (found is None or problems):
        return converted
    return found or _refuse_unknown(shapes, kind)


def _converted(shapes: Shapes, hints: Hints, candidates: Iterable[Family]) -> Recognised | None:
    """Return what the metadata of a file that `convert` wrote says, None for other files.

    It was checked when it was converted, and the hash of its tensors when it was read (`folder.read_source`), so it is
    believed where our names alone do not tell a network in full.
    """
    if hints.metadata.get("dialect") != "ours" or "tensors_sha256" not in hints.metadata:
        return None
    family = next((family for family in candidates if family.kind == hints.metadata.get("kind")), None)
    if family is None:
        return None
    layout = Layout(family.kind, "ours", metadata_config(hints), dict(shapes))
    return Recognised(replace(family, convert=lambda tensors, _: dict(tensors)), layout)


def _by_names(shapes: Shapes, hints: Hints, candidates: Iterable[Family]) -> tuple[int, Recognised | None]:
    """Return the claim with the fewest problems and their number, first of all names as they are, then without a wrapper's prefix."""
    for prefix in ("", *(p for p in _WRAPPERS if shapes and all(name.startswith(p) for name in shapes))):
        claims = _claims({name[len(prefix):]: shape for name, shape in shapes.items()}, hints, candidates)
        if claims:
            problems, family, layout = min(claims, key=lambda claim: claim[0])
            return problems, Recognised(family, layout, prefix)
    return 0, None


def _claims(shapes: Shapes, hints: Hints, candidates: Iterable[Family]) -> list[tuple[int, Family, Layout]]:
    """Return (problems, family, layout) of all who claim a file; a contradiction that one found counts when none fits exactly."""
    claims, contradiction = [], None
    for family in candidates:
        try:
            layout = family.recognise(shapes, hints)
        except UserError as error:
            contradiction = contradiction or error
            continue
        if layout is not None:
            claims.append((count_problems(layout.expected, layout.optional, own(shapes, layout, hints.extras)), family, layout))
    if contradiction and all(problems for problems, *_ in claims):
        raise contradiction
    return claims


def own(names: Mapping, layout: Layout, extras: Mapping = MappingProxyType({})) -> dict:
    """Return the entries that belong to the layout itself: those of no other network in the file, and its extras."""
    mine = {name: value for name, value in names.items() if not (layout.parts and name.startswith(layout.parts))}
    return {**mine, **{name: extras[name] for name in layout.extras if name in extras}}


def adopt(tensors: Tensors, hints: Hints = Hints(), *, source: str, kind: str | None = None,
          extras: Tensors = MappingProxyType({})) -> tuple[dict[str, np.ndarray], Layout]:
    """Return a file's tensors under our names, and its layout: recognised, strictly checked, converted.

    `extras` are the tensors beside the container. Raises UserError with `source` for an unknown file, and for missing,
    extra or mis-shaped tensors (nearest named). Networks under `layout.parts` are left out.
    """
    try:
        found = identify(shapes_of(tensors), hints, kind)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    return take(found, tensors, source=source, extras=extras), found.layout


def take(found: Recognised, tensors: Tensors, *, source: str,
         extras: Tensors = MappingProxyType({})) -> dict[str, np.ndarray]:
    """Return the tensors of a recognised file under our names, after the strict check; raises as `adopt` does."""
    mine = select(found, tensors, extras)
    require_fit(compare(found.layout.expected, found.layout.optional, mine.shapes, mine.types, limit=3), source)
    try:
        return found.family.convert(mine, found.layout)
    except UserError as error:      # a damaged tensor names its file already, and keeps its type
        if source not in str(error):
            error.args = (f"{source}: {error}", *error.args[1:])
        raise


class Renamed(Mapping):
    """Tensors of a file under other names, and a few more beside them; none is read before it is asked for."""

    def __init__(self, tensors: Tensors, names: Mapping[str, str], more: Tensors = MappingProxyType({})) -> None:
        self._tensors, self._names, self._more = tensors, {**names, **dict.fromkeys(more, "")}, more

    def __getitem__(self, name: str) -> np.ndarray:
        return self._more[name] if name in self._more else self._tensors[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape by name, without reading."""
        known = {**shapes_of(self._tensors), **shapes_of(self._more)}
        return {name: known[name if name in self._more else full] for name, full in self._names.items()}

    @property
    def types(self) -> dict[str, str]:
        """Type by name as the file stores it, without reading."""
        known = {**types_of(self._tensors), **types_of(self._more)}
        return {name: known[name if name in self._more else full] for name, full in self._names.items()}


def select(found: Recognised, tensors: Tensors, extras: Tensors = MappingProxyType({})) -> Renamed:
    """Return the tensors that belong to the recognised network itself, without a wrapper's prefix, its extras among them."""
    names = own({name[len(found.prefix):]: name for name in tensors}, found.layout)
    return Renamed(tensors, names, {name: extras[name] for name in found.layout.extras if name in extras})


def select_part(found: Recognised, tensors: Tensors, part: str) -> Renamed:
    """Return the tensors of the further network under the prefix `part`, without it; empty when there is none."""
    prefix = found.prefix + part
    return Renamed(tensors, {name[len(prefix):]: name for name in tensors if name.startswith(prefix)})


def shapes_of(tensors: Tensors) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of named arrays; of tensors still in their file without reading them."""
    known = getattr(tensors, "shapes", None)
    return dict(known) if known is not None else {name: tuple(array.shape) for name, array in tensors.items()}


def types_of(tensors: Tensors) -> dict[str, str]:
    """Return name -> type, such as "float16"; "bfloat16" where the file stores that and the reader widens it."""
    if isinstance(tensors, Renamed):
        return tensors.types
    entries = getattr(tensors, "entries", None)
    return {name: entry.stored for name, entry in entries.items()} if entries is not None else \
        {name: array.dtype.name for name, array in tensors.items()}


def _refuse_unknown(shapes: Shapes, kind: str | None) -> NoReturn:
    first = next(iter(shapes), "")
    if kind:
        raise UserError(f"this is no {kind} network in any known layout (its first tensor is {first[:80]!r}){_landmark(shapes, kind)}")
    known = ", ".join(list(dict.fromkeys(family.kind for family in families() if family.landmarks))[:_SHOWN])
    raise UserError(f"no known network has these tensors (the first is {first[:80]!r})"
                    f"{_landmark(shapes, None) or f'; known are {known}, ...'} (all: docs/formats.md)")


def _landmark(shapes: Shapes, kind: str | None) -> str:
    """Return a remark on the family that has a name most like one of the file's."""
    owners = {name: family for family in families() if kind in (None, family.kind) for name in family.landmarks}
    names = list(shapes)[:200]
    close = [name for name in names if name in owners] or \
        [near for name in names[:20] for near in get_close_matches(name, owners, n=1, cutoff=0.7)]
    return f"; nearest is {owners[close[0]].kind}, which has {close[0]!r}" if close else ""

"""Every family of networks whose files are understood, and the one way from a file's tensors to ours.

A module here exposes FAMILY, or FAMILIES for several; their kinds stand in `MODULES`. Nothing here imports Jittor.
"""
from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import NoReturn

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.models.strict import compare, count_problems, require_fit
from jittor_ipl.weights.containers.lazy import LazyTensors
from jittor_ipl.weights.families.family import Family, Hints, Layout, Shapes, Tensors

# Kind -> its module, in the order in which they are asked; among those that claim a file the one with the fewest
# problems wins. A module is imported when one of its kinds is asked.
MODULES = {
    "delta": "registry", "tuned-generator": "registry", "style-step": "registry", "judge": "registry",
    "stylegan2": "stylegan2.family",
    "prompt-mapper": "prompt_mapper", "clip": "clip.family", "image-encoder": "clip.family",
    "styleclip-mapper": "stylegan2.styleclip", "style-directions": "stylegan2.latents",
    "style-statistics": "stylegan2.latents", "latents": "stylegan2.latents", "inversion-encoder": "inversion",
    "ir-se50": "features.arcface", "ir-face": "features.arcface", "moco-resnet50": "features.arcface",
    "inception-v3": "features.inception", "lpips": "features.lpips", "dinov2": "features.dinov2",
    "compact-encoder": "registry", "unet": "diffusion.family", "vae": "diffusion.family",
    "text-encoder": "diffusion.family", "lora": "lora.family"}
_STATED = ("delta", "tuned-generator", "style-step", "judge", "compact-encoder")    # kinds of files that say it
_SHOWN = 5              # kinds of networks named in a message when none is near
# What DataParallel, torch.compile, Lightning and others put before every name.
_WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "generator.", "g_ema.", "state_dict.")


class UnknownNetwork(UserError):
    """Tensors that are no known network, or none of the kind that is asked for."""


def _by_metadata(kind: str, next_step: str) -> Family:
    """Return the family of files that only this project writes: their names are those of the network behind them."""
    def recognise_stated(shapes: Shapes, hints: Hints) -> Layout | None:
        return Layout(kind, "ours", hints.stored, dict(shapes)) if hints.metadata.get("kind") == kind else None
    return Family(kind, recognise_stated, next_step=next_step)


# What they must hold is checked where they are used: by the delta's hash of its source, by the judge's network.
FAMILIES = (_by_metadata("delta", "python -m jittor_ipl generate --network {file} --source {source} --seeds 0-7"),
            _by_metadata("tuned-generator", "editing takes it together with the codes in it (docs/inversion.md)"),
            _by_metadata("compact-encoder", "python -m jittor_ipl invert photo.png --encoder {file}"),
            _by_metadata("style-step", "python -m jittor_ipl edit movie --direction {file} --seeds 0-3"),
            _by_metadata("judge", "the demo world's measurements use it (docs/demo_results.md)"))


@dataclass(frozen=True)
class Recognised:
    """A family, the layout it found, the prefix of all names in the file ("" or a wrapper's "module."), and how many
    tensors do not fit."""

    family: Family
    layout: Layout
    prefix: str = ""
    problems: int = 0


def families(kinds: Iterable[str] = tuple(MODULES)) -> list[Family]:
    """Return the families of these kinds in the order of MODULES; their modules are imported on first use."""
    modules = {kind: importlib.import_module(f"jittor_ipl.weights.families.{MODULES[kind]}")
               for kind in MODULES if kind in kinds}
    return [next(family for family in getattr(module, "FAMILIES", None) or (module.FAMILY,) if family.kind == kind)
            for kind, module in modules.items()]


def identify(shapes: Shapes, hints: Hints = Hints(), kind: str | tuple[str, ...] = ()) -> Recognised:
    """Return family and layout of a file with these tensors; a prefix that a wrapper put before every name goes.

    Where a `kind` (or several) is expected, others are only asked when it does not fit. Raises UserError that names the
    nearest family, or the kind of network that the file holds instead (UnknownNetwork).
    """
    kinds = (kind,) if isinstance(kind, str) else kind
    found = contradiction = None
    try:
        found = closest(shapes, hints, families({*kinds, *_STATED} if kinds else MODULES))
    except UserError as error:
        contradiction = error
    if kinds and (found is None or found.problems or found.layout.kind not in kinds):
        _refuse_other_kinds(shapes, hints, kinds, 1 if contradiction else found.problems if found else len(shapes) + 1)
    if contradiction:
        raise contradiction
    return found or _refuse_unknown(shapes, kinds)


def _refuse_other_kinds(shapes: Shapes, hints: Hints, kinds: tuple[str, ...], problems: int) -> None:
    """Raise UserError when a network of another kind fits with fewer than `problems` problems, or says what it is."""
    other = None
    with suppress(UserError):
        other = closest(shapes, hints, families())
    if other and other.layout.kind not in kinds and (other.problems < problems or other.layout.kind in _STATED):
        step = f" ({other.family.next_step})" if other.layout.parts and other.family.next_step else ""
        raise UnknownNetwork(f"this is a {other.layout.kind!r} network, a {kinds[0]!r} network is expected{step}")


def closest(shapes: Shapes, hints: Hints, candidates: Iterable[Family]) -> Recognised | None:
    """Return the claim with the fewest problems, None without any; UserError for a contradiction that one found."""
    converted = _converted(shapes, hints, candidates)
    try:
        found = _by_names(shapes, hints, candidates)
    except UserError:
        if converted is None:
            raise
        return converted
    return converted if converted is not None and (found is None or found.problems) else found


def _converted(shapes: Shapes, hints: Hints, candidates: Iterable[Family]) -> Recognised | None:
    """Return what the metadata of a file that `convert` wrote says, None for other files.

    It was checked when it was converted, and the hash of its tensors when it was opened (`folder.open_file_set`), so
    it is believed where our names alone do not tell a network in full.
    """
    if hints.metadata.get("dialect") != "ours" or "tensors_sha256" not in hints.metadata:
        return None
    family = next((family for family in candidates if family.kind == hints.metadata.get("kind")), None)
    if family is None:
        return None
    layout = Layout(family.kind, "ours", dict(hints.stored), dict(shapes))
    return Recognised(replace(family, convert=None, our_name=str), layout)


def _by_names(shapes: Shapes, hints: Hints, candidates: Iterable[Family]) -> Recognised | None:
    """Return the best claim of all names as they are, then of those without a wrapper's prefix."""
    for prefix in ("", *(p for p in _WRAPPERS if shapes and all(name.startswith(p) for name in shapes))):
        claims = _claims({name[len(prefix):]: shape for name, shape in shapes.items()}, hints, candidates)
        if claims:
            return replace(min(claims, key=lambda claim: claim.problems), prefix=prefix)
    return None


def _claims(shapes: Shapes, hints: Hints, candidates: Iterable[Family]) -> list[Recognised]:
    """Return every claim on a file; UserError for the first contradiction that one found, unless another fits."""
    claims, contradiction = [], None
    for family in candidates:
        try:
            layout = family.recognise(shapes, hints)
        except UserError as error:
            contradiction = contradiction or error
            continue
        if layout is not None:
            mine = belonging(shapes, layout, hints.extras)
            claims.append(Recognised(family, layout, problems=count_problems(layout.expected, layout.optional, mine)))
    if contradiction and all(claim.problems for claim in claims):
        raise contradiction
    return claims


def belonging(names: Mapping, layout: Layout, extras: Mapping = MappingProxyType({})) -> dict:
    """Return the entries of the layout itself: those of no other network in the file, and its extras."""
    mine = {name: value for name, value in names.items() if not (layout.parts and name.startswith(layout.parts))}
    return {**mine, **{name: extras[name] for name in layout.extras if name in extras}}


def converted(found: Recognised, tensors: Tensors, *, source: str,
              extras: Tensors = MappingProxyType({})) -> dict[str, np.ndarray]:
    """Return the tensors of a recognised file under our names; `extras` are the tensors beside the container.

    Raises UserError with `source` for missing, extra or mis-shaped tensors (nearest named). Networks under
    `layout.parts` are left out.
    """
    mine = fitting(found, tensors, source=source, extras=extras)
    try:
        return found.family.under_our_names(mine, found.layout)
    except UserError as error:      # a damaged tensor names its file already, and keeps its type
        if source not in str(error):
            error.args = (f"{source}: {error}", *error.args[1:])
        raise


def fitting(found: Recognised, tensors: Tensors, *, source: str,
            extras: Tensors = MappingProxyType({})) -> LazyTensors:
    """Return the tensors of the recognised network itself as `select` does; UserError as `converted`, before reading.
    """
    mine = select(found, tensors, extras)
    require_fit(compare(found.layout.expected, found.layout.optional, mine.shapes, mine.stored, limit=3), source)
    return mine


def select(found: Recognised, tensors: Tensors, extras: Tensors = MappingProxyType({})) -> LazyTensors:
    """Return the tensors of the recognised network itself, its extras among them, without a wrapper's prefix."""
    whole = LazyTensors.of(tensors)
    mine = belonging(whole.below(found.prefix).entries, found.layout, LazyTensors.of(extras).entries)
    return LazyTensors(mine, whole.source)


def _refuse_unknown(shapes: Shapes, kinds: tuple[str, ...]) -> NoReturn:
    first, near = next(iter(shapes), "")[:80], _landmark(shapes, kinds)
    if kinds:
        raise UnknownNetwork(f"this is no {kinds[0]} network in any known layout (its first tensor is {first!r}){near}")
    known = ", ".join(list(dict.fromkeys(family.kind for family in families() if family.landmarks))[:_SHOWN])
    near = near or f"; known are {known}, ..."
    raise UnknownNetwork(f"no known network has these tensors (the first is {first!r}){near} (all: docs/formats.md)")


def _landmark(shapes: Shapes, kinds: tuple[str, ...]) -> str:
    """Return a remark on the family that has a name most like one of the file's."""
    owners = {name: family for family in families(kinds or MODULES) for name in family.landmarks}
    names = list(shapes)[:200]
    close = [name for name in names if name in owners] or \
        [near for name in names[:20] for near in get_close_matches(name, owners, n=1, cutoff=0.7)]
    return f"; nearest is {owners[close[0]].kind}, which has {close[0]!r}" if close else ""

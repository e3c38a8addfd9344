"""From any known file to safetensors under our names, or out again in another program's dialect; checked before and after.

Every network is recognised, strictly checked and written beside its target; the written file is read back and compared
bit for bit, and only then takes the target's name.
"""
from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jittor_ipl.disk.atomic import staged
from jittor_ipl.disk.integrity import file_sha256
from jittor_ipl.errors import UserError, nearest
from jittor_ipl.weights.containers.bfloat16 import Bfloat16, narrow
from jittor_ipl.weights.containers.read import FileInfo, read_tensors
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.containers.torch_writer import write_torch
from jittor_ipl.weights.delta import fingerprint, is_delta
from jittor_ipl.weights.families.family import Family, Hints, Layout
from jittor_ipl.weights.families.registry import (
    Recognised,
    converted,
    families,
    identify,
    select,
    select_part,
    shapes_of,
)
from jittor_ipl.weights.folder import TENSORS_SHA256, Source, find_sources, read_source
from jittor_ipl.weights.generator import adapted_tensors
from jittor_ipl.weights.inspect import not_finite
from jittor_ipl.weights.network import hints_of, locate, read_network

OURS = "ours"
DTYPES = ("float32", "float16", "bfloat16")
FORMATS = {"safetensors": ".safetensors", "pt": ".pt"}
# Under which key other programs look for the network in a .pt file; all others take the names themselves.
_HOLDERS = {"stylegan2": "g_ema", "prompt-mapper": "m"}
_NEEDED = {"lora_adapter_metadata"}     # metadata without which the tensors would mean something else
_BESIDE = ("latent_avg",)       # and what lies beside that key there


@dataclass(frozen=True)
class Options:
    """How to write: dialect, file format, type of the floating-point tensors (None keeps each), file name, overwriting."""

    dialect: str = OURS
    format: str = "safetensors"
    dtype: str | None = None
    name: str | None = None
    overwrite: bool = False
    container: str | None = None


@dataclass(frozen=True)
class Written:
    """One converted network: where it is now, what it is, and what of its source was left out."""

    path: Path
    layout: Layout
    tensors: int
    sha256: str
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refused:
    """One of several networks that was not converted, and why."""

    label: str
    reason: str


@dataclass(frozen=True)
class Piece:
    """One network of a source, converted in memory, with what is left out of it."""

    label: str
    family: Family
    layout: Layout
    tensors: dict[str, np.ndarray]
    format: str
    left_out: tuple[str, ...]


def convert(ref: str | os.PathLike, folder: str | os.PathLike, options: Options = Options()) -> "Iterator[Written | Refused]":
    """Convert the network or networks at `ref` (file, folder or `demo:<name>`) into `folder`, one after another.

    Raises UserError, before anything is written for that network, when it is unknown, does not fit its own layout,
    holds NaN or infinity, has no such dialect, or when the target exists or cannot be written. Of several networks those
    that cannot be read or recognised come back as `Refused`, unless that is all of them.
    """
    assert options.format in FORMATS and options.dtype in (None, *DTYPES), options
    options = replace(options, dialect=dialect_named(options.dialect))
    path = locate(ref)
    if not os.fspath(folder):
        raise UserError("--to is empty; give the folder for the converted files, --to . for this one")
    done: list[Path] = []
    refused: list[Refused] = []
    for piece, source in _every_piece(find_sources(path), options):
        if isinstance(piece, Refused):
            refused.append(piece)
            continue
        target = Path(folder) / (_file_name(path, piece.label, options) + FORMATS[options.format])
        if target in done:
            raise UserError(f"two networks of {str(path)!r} would become {target.name!r}; convert them one by one with --name")
        yield _write(piece, source, target, options)
        done.append(target)
    if not done:
        raise UserError(refused[0].reason)
    yield from refused


def _every_piece(sources: list[Source], options: Options) -> "Iterator[tuple[Piece | Refused, Source]]":
    """Yield what can be converted, and what cannot be read or is unknown; a single network's fault is raised."""
    for source in sources:
        pieces = _pieces(source, options)
        while True:
            try:
                piece = next(pieces, None)
            except UserError as error:
                piece = Refused(source.label or source.path.name, str(error))
            if piece is None:
                break
            yield piece, source


def known_dialects() -> dict[str, str]:
    """Return what --as takes -> the dialect's name in its family: `kohya-lora` says more than `kohya`, both are taken."""
    both = [(name, f"{name}-{family.kind}" if family.kind == "lora" else name) for family in families() for name in family.exports]
    return {OURS: OURS, **{shown: name for name, shown in both}}


def dialect_named(text: str) -> str:
    """Return the dialect that a user's word means; UserError, with the nearest one, when there is none."""
    known = known_dialects()
    if text in known.values():
        return text
    if text not in known:
        raise UserError(f"unknown dialect {text!r}{nearest(text, known)}; --as takes {', '.join(known)}")
    return known[text]


def _pieces(source: Source, options: Options) -> Iterator[Piece]:
    """Yield the networks of one source under our names: its own, then those that the layout names as parts."""
    tensors, info = _whole(source, options.container)
    label = str(source.path)
    found = _identified(tensors, hints_of(source, info), label)
    left_out = (*info.skipped, *(name for name in info.extras if name not in found.layout.extras),
                *(name for name in select(found, tensors) if name not in found.layout.expected))
    yield _piece(source.label, found, converted(found, tensors, source=label, extras=info.extras), label, info.format, left_out)
    for prefix in found.layout.parts:
        inner = select_part(found, tensors, prefix)
        if inner:
            where = f"{label}, under {prefix!r}"
            part = _identified(inner, Hints(info.format), where)
            yield _piece("/".join(filter(None, (source.label, prefix.rstrip(".")))), part, converted(part, inner, source=where), where, info.format)


def _identified(tensors: Mapping[str, np.ndarray], hints: Hints, label: str) -> Recognised:
    try:
        return identify(shapes_of(tensors), hints)
    except UserError as error:
        raise UserError(f"{label}: {error}") from error


def _piece(name: str, found: Recognised, tensors: dict[str, np.ndarray], label: str, format_: str,
           left_out: tuple[str, ...] = ()) -> Piece:
    wrong = not_finite(tensors)
    if wrong:
        raise UserError(f"{label}: {wrong[0]}" + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""))
    return Piece(name, found.family, found.layout, tensors, format_, left_out)


def _whole(source: Source, container: str | None) -> tuple[Mapping[str, np.ndarray], FileInfo]:
    """Return the tensors of a source; a delta becomes the whole network that it describes."""
    tensors, info = read_source(source, container)
    if not is_delta(info.metadata):
        return tensors, info
    base = info.metadata.get("source", "")
    if not base:
        raise UserError(f"{source.path} is a delta file that does not name its source; generate --source takes it as it is")
    stored = read_network(base, kind="stylegan2").tensors
    # A delta is the difference to the network as it computes, in float32, whatever type its file has.
    adapted = adapted_tensors(source.path, {name: array.astype(np.float32, copy=False) for name, array in stored.items()})
    return adapted, FileInfo(info.format, {"kind": "stylegan2", "config": info.metadata.get("config", "{}")})


def _file_name(path: Path, label: str, options: Options) -> str:
    """Return the name of the new file without its ending: the given one or the source's, then the part's label."""
    own_name = path.resolve().name if path.is_dir() else Path(path.name.removesuffix(".index.json")).stem
    base = own_name if options.name is None else options.name
    if not base or not base.isprintable() or base.startswith(".") or "/" in base or "\\" in base or len(base) > 200:
        raise UserError(f"{base[:60]!r} cannot be the name of a file; give another one with --name")
    return "-".join(filter(None, (base, label.replace("/", "-").replace(".", "-"))))


def _write(piece: Piece, source: Source, target: Path, options: Options) -> Written:
    tensors = _cast(_exported(piece, options.dialect), options.dtype, str(source.path))
    left_out = piece.left_out
    if options.dialect != OURS and options.format == "safetensors":     # there it would break a strict load_state_dict
        left_out += tuple(name for name in _BESIDE if tensors.pop(name, None) is not None)
    if target.exists() and not options.overwrite:
        raise UserError(f"{str(target)!r} exists; give --overwrite to replace it, or --name for another name")
    with staged(target) as temporary:
        if options.format == "pt":
            if set(_their_metadata(piece, options)) & _NEEDED:
                raise UserError(f"a .pt file has no place for the alphas of this LoRA; write {options.dialect} as safetensors")
            _write_pt(temporary, tensors, _HOLDERS.get(piece.layout.kind, ""))
        else:
            hashed = {name: value.widen() if isinstance(value, Bfloat16) else value for name, value in tensors.items()}
            write_safetensors(temporary, tensors, {**_metadata(piece, source, options), TENSORS_SHA256: fingerprint(hashed)})
            _compare(tensors, read_tensors(temporary)[0])
    return Written(target, piece.layout, len(tensors), file_sha256(target), left_out)


def _write_pt(path: Path, tensors: "Mapping[str, np.ndarray | Bfloat16]", holder: str) -> None:
    """Write a .pt file and compare it: the network under `holder`, the mean w beside it, as rosinality's programs expect."""
    beside = {name: value for name, value in tensors.items() if holder and name in _BESIDE}
    state = {name: value for name, value in tensors.items() if name not in beside}
    write_torch(path, {holder: state, **beside} if holder else state)
    again, info = read_tensors(path, holder or None)
    _compare(tensors, {**again, **info.extras})


def _exported(piece: Piece, dialect: str) -> Mapping[str, np.ndarray]:
    if dialect == OURS:
        return piece.tensors
    if dialect not in piece.family.exports:
        named = {name: shown for shown, name in known_dialects().items()}
        known = ", ".join([OURS, *(shown for name, shown in named.items() if name in piece.family.exports)])
        raise UserError(f"a {piece.layout.kind} network cannot be written as {named[dialect]!r}; --as takes {known} for it")
    return piece.family.exports[dialect](piece.tensors, piece.layout.config)


def _cast(tensors: Mapping[str, np.ndarray], dtype: str | None, label: str) -> "dict[str, np.ndarray | Bfloat16]":
    """Return the tensors with their floating-point types changed; UserError when a value is beyond their range."""
    if dtype is None:
        return dict(tensors)
    cast: dict[str, np.ndarray | Bfloat16] = {}
    for name, array in tensors.items():
        if array.dtype.kind != "f":
            cast[name] = array
            continue
        with np.errstate(over="ignore"):
            cast[name] = narrow(array) if dtype == "bfloat16" else array.astype(dtype)
            finite = np.isfinite(cast[name].widen() if dtype == "bfloat16" else cast[name]).all()
        if not finite:
            wider = "choose bfloat16 or float32" if dtype == "float16" else "leave --dtype out"
            raise UserError(f"{label}: tensor {name!r} has values beyond {dtype}'s range; {wider}")
    return cast


def _metadata(piece: Piece, source: Source, options: Options) -> dict[str, str]:
    ours = {"kind": piece.layout.kind, "config": json.dumps(piece.layout.config, sort_keys=True), "dialect": options.dialect,
            "source_dialect": piece.layout.dialect, "source_format": piece.format, "source_sha256": _hash(source)}
    # "format" is what Hugging Face's programs ask for before they read a file.
    return ours if options.dialect == OURS else {**ours, "format": "pt", **_their_metadata(piece, options)}


def _their_metadata(piece: Piece, options: Options) -> dict[str, str]:
    make = piece.family.export_metadata.get(options.dialect)
    return make(piece.tensors, piece.layout.config) if make else {}


def _hash(source: Source) -> str:
    """Return the SHA-256 of the source file; of several shards that of the lines "<SHA-256>  <name>"."""
    if len(source.files) == 1:
        return file_sha256(source.files[0])
    return hashlib.sha256("".join(f"{file_sha256(file)}  {file.name}\n" for file in source.files).encode()).hexdigest()


def _compare(tensors: "Mapping[str, np.ndarray | Bfloat16]", again: Mapping[str, np.ndarray]) -> None:
    """Raise UserError unless the tensors read from the new file, `again`, are those written, bit for bit."""
    if set(again) != set(tensors):
        raise UserError("the written file does not read back with the same tensors; the disk may be failing")
    for name, value in tensors.items():
        value = value.widen() if isinstance(value, Bfloat16) else np.asarray(value)
        same_shape = again[name].shape == value.shape and again[name].dtype == value.dtype.newbyteorder("=")
        if not same_shape or np.ascontiguousarray(again[name]).tobytes() != value.astype(again[name].dtype).tobytes():
            raise UserError(f"the written file does not read back as written (tensor {name!r}); the disk may be failing")

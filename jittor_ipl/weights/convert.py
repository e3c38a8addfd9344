"""From any known file to safetensors under our names, or out again in another program's dialect.

Every network is recognised, strictly checked and written beside its target; the written file is read back and compared
bit for bit, and only then takes the target's name.
"""
from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from jittor_ipl.disk.atomic import staged
from jittor_ipl.disk.integrity import file_sha256
from jittor_ipl.errors import UserError, nearest
from jittor_ipl.weights.containers.bfloat16 import Bfloat16, narrow
from jittor_ipl.weights.containers.lazy import FileInfo, LazyTensors
from jittor_ipl.weights.containers.read import read_tensors
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.containers.torch_writer import write_torch
from jittor_ipl.weights.delta import fingerprint, is_delta
from jittor_ipl.weights.families.family import Hints, Layout
from jittor_ipl.weights.families.registry import Recognised, families, select
from jittor_ipl.weights.folder import TENSORS_SHA256, FileSet, find_file_sets
from jittor_ipl.weights.generator import adapted_tensors
from jittor_ipl.weights.inspect import not_finite
from jittor_ipl.weights.lora import BASE_KEY
from jittor_ipl.weights.network import Opened, open_network, read_network, recognised
from jittor_ipl.weights.refs import locate, split_place

OURS, PEFT = "ours", "peft-lora"    # peft's is a folder for each part: `lora.write_peft_lora`
DTYPES = ("float32", "float16", "bfloat16")
FORMATS = {"safetensors": ".safetensors", "pt": ".pt"}
# Under which key other programs look for the network in a .pt file; all others take the names themselves.
_HOLDERS = {"stylegan2": "g_ema", "prompt-mapper": "m"}
_NEEDED = {"lora_adapter_metadata"}     # metadata without which the tensors would mean something else
_KEPT = (BASE_KEY,)                     # metadata that goes along, whatever the dialect
_BESIDE = ("latent_avg",)       # and what lies beside that key there


@dataclass(frozen=True)
class Options:
    """How to write: dialect, file format, type of floating-point tensors (None keeps each), file name, overwriting."""

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
class _Network:
    """One network of a file: its label there, its file, its tensors under our names, and what is left out."""

    label: str
    files: FileSet
    found: Recognised
    tensors: dict[str, np.ndarray]
    format: str
    left_out: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)     # of the file, where it is about the network


def convert(ref: str | os.PathLike, folder: str | os.PathLike,
            options: Options = Options()) -> "Iterator[Written | Refused]":
    """Convert the network or networks at `ref` (file, folder or `demo:<name>`) into `folder`, one after another.

    Raises UserError, before anything is written for that network, when it is unknown, does not fit its own layout,
    holds NaN or infinity, has no such dialect, or when the target exists or cannot be written. Of several networks
    those that cannot be read or recognised come back as `Refused`, unless that is all of them.
    """
    assert options.format in FORMATS and options.dtype in (None, *DTYPES), options
    path, (_, place) = locate(ref), split_place(ref)
    options = replace(options, dialect=dialect_named(options.dialect), container=options.container or place)
    if not os.fspath(folder):
        raise UserError("--to is empty; give the folder for the converted files, --to . for this one")
    done: list[Path] = []
    refused: list[Refused] = []
    for files in find_file_sets(path):
        for network in _networks(files, options.container):
            if isinstance(network, Refused):
                refused.append(network)
                continue
            target = Path(folder) / (_file_name(path, network.label, options) + FORMATS[options.format])
            if target in done:
                raise UserError(f"two networks of {str(path)!r} would become {target.name!r}; "
                                "convert them one by one with --name")
            theirs = _in_dialect(network, options.dialect)
            yield _write(network, _with_type(theirs, options.dtype, str(files.path)), target, options)
            done.append(target)
    if not done:
        raise UserError(refused[0].reason)
    yield from refused


def _networks(files: FileSet, place: str | None) -> Iterator[_Network | Refused]:
    """Yield the networks of one file under our names: its own, then those that its layout names as parts.

    The first that is unknown, incomplete or not finite is refused, and ends them.
    """
    path = str(files.path)
    try:
        opened = _whole(open_network(files, place), path)
        found, tensors, info = opened.network(path), opened.tensors, opened.info
        left_out = (*info.skipped, *(name for name in info.extras if name not in found.layout.extras),
                    *(name for name in select(found, tensors) if name not in found.layout.expected))
        yield _Network(files.label, files, found, _finite(opened, path), info.format, left_out, info.metadata)
        for part in found.layout.parts:
            if inner := tensors.below(found.prefix + part):
                where = f"{path}, under {part!r}"
                opened = recognised(inner, FileInfo(info.format), Hints(info.format))
                label = "/".join(filter(None, (files.label, part.rstrip("."))))
                yield _Network(label, files, opened.network(where), _finite(opened, where), info.format)
    except UserError as error:      # of this generator alone: what its caller raises does not come here
        yield Refused(files.label or files.path.name, str(error))


def _whole(opened: Opened, path: str) -> Opened:
    """Return a file as it is, a delta as the whole network that it describes."""
    info = opened.info
    if not is_delta(info.metadata):
        return opened
    source = info.metadata.get("source", "")
    if not source:
        raise UserError(f"{path} is a delta file that does not name its source; generate --source takes it as it is")
    stored = read_network(source, kind="stylegan2").tensors
    # A delta is the difference to the network as it computes, in float32, whatever type its file has.
    stored = {name: array.astype(np.float32, copy=False) for name, array in stored.items()}
    adapted = adapted_tensors(dict(opened.tensors), info.metadata, stored, path)
    metadata = {"kind": "stylegan2", "config": info.metadata.get("config", "{}")}
    return recognised(LazyTensors.of(adapted), FileInfo(info.format, metadata), Hints(info.format, metadata=metadata))


def _finite(opened: Opened, label: str) -> dict[str, np.ndarray]:
    """Return the tensors under our names; UserError where one does not fit, or holds NaN or infinity."""
    tensors = opened.under_our_names(label)
    wrong = not_finite(tensors)
    if wrong:
        raise UserError(f"{label}: {wrong[0]}" + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""))
    return tensors


def known_dialects() -> dict[str, str]:
    """Return what --as takes -> the dialect's name in its family; `kohya-lora` says more than `kohya`, both will do."""
    return {OURS: OURS, **{f"{name}-lora" if family.kind == "lora" else name: name
                           for family in families() for name in family.exports}}


def dialect_named(text: str) -> str:
    """Return the dialect that a user's word means; UserError, with the nearest one, when there is none."""
    known = known_dialects()
    if text in known.values():
        return text
    if text not in known:
        raise UserError(f"unknown dialect {text!r}{nearest(text, known)}; --as takes {', '.join([*known, PEFT])}")
    return known[text]


def _file_name(path: Path, label: str, options: Options) -> str:
    """Return the name of the new file without its ending: the given one or the source's, then the part's label."""
    own_name = path.resolve().name if path.is_dir() else Path(path.name.removesuffix(".index.json")).stem
    base = own_name if options.name is None else options.name
    if not base or not base.isprintable() or base.startswith(".") or "/" in base or "\\" in base or len(base) > 200:
        raise UserError(f"{base[:60]!r} cannot be the name of a file; give another one with --name")
    return "-".join(filter(None, (base, label.replace("/", "-").replace(".", "-"))))


def _write(network: _Network, tensors: "dict[str, np.ndarray | Bfloat16]", target: Path, options: Options) -> Written:
    """Write one network beside its target, read it back, and only then give it the name."""
    layout, left_out = network.found.layout, network.left_out
    if options.dialect != OURS and options.format == "safetensors":     # there it would break a strict load_state_dict
        left_out += tuple(name for name in _BESIDE if tensors.pop(name, None) is not None)
    if target.exists() and not options.overwrite:
        raise UserError(f"{str(target)!r} exists; give --overwrite to replace it, or --name for another name")
    with staged(target) as temporary:
        if options.format == "pt":
            if set(_their_metadata(network, options.dialect)) & _NEEDED:
                raise UserError("a .pt file has no place for the alphas of this LoRA; "
                                f"write {options.dialect} as safetensors")
            _write_pt(temporary, tensors, _HOLDERS.get(layout.kind, ""))
        else:
            hashed = {name: value.widen() if isinstance(value, Bfloat16) else value for name, value in tensors.items()}
            metadata = {**_metadata(network, options.dialect), TENSORS_SHA256: fingerprint(hashed)}
            write_safetensors(temporary, tensors, metadata)
            _compare(tensors, read_tensors(temporary)[0])
    return Written(target, layout, len(tensors), file_sha256(target), left_out)


def _write_pt(path: Path, tensors: "Mapping[str, np.ndarray | Bfloat16]", holder: str) -> None:
    """Write a .pt file and compare it: the network under `holder`, the mean w beside it, as rosinality has them."""
    beside = {name: value for name, value in tensors.items() if holder and name in _BESIDE}
    state = {name: value for name, value in tensors.items() if name not in beside}
    write_torch(path, {holder: state, **beside} if holder else state)
    again, info = read_tensors(path, holder or None)
    _compare(tensors, {**again, **info.extras})


def _in_dialect(network: _Network, dialect: str) -> Mapping[str, np.ndarray]:
    """Return the tensors under another program's names; UserError when none of these networks can have them."""
    family = network.found.family
    if dialect == OURS:
        return network.tensors
    if dialect not in family.exports:
        named = {name: shown for shown, name in known_dialects().items()}
        known = ", ".join(shown for name, shown in named.items() if name in (OURS, *family.exports))
        raise UserError(f"a {family.kind} network cannot be written as {named[dialect]!r}; --as takes {known} for it")
    return family.exports[dialect](network.tensors, network.found.layout.config)


def _with_type(tensors: Mapping[str, np.ndarray], dtype: str | None, label: str) -> "dict[str, np.ndarray | Bfloat16]":
    """Return the tensors with their floating-point types changed; UserError when a value is beyond their range."""
    changed: dict[str, np.ndarray | Bfloat16] = dict(tensors)
    for name, array in tensors.items() if dtype is not None else ():
        if array.dtype.kind != "f":
            continue
        with np.errstate(over="ignore"):
            changed[name] = narrow(array) if dtype == "bfloat16" else array.astype(dtype)
            finite = np.isfinite(changed[name].widen() if dtype == "bfloat16" else changed[name]).all()
        if not finite:
            wider = "choose bfloat16 or float32" if dtype == "float16" else "leave --dtype out"
            raise UserError(f"{label}: tensor {name!r} has values beyond {dtype}'s range; {wider}")
    return changed


def _metadata(network: _Network, dialect: str) -> dict[str, str]:
    layout, files = network.found.layout, network.files.files
    hashes = {file.name: file_sha256(file) for file in files}
    lines = "".join(f"{digest}  {name}\n" for name, digest in hashes.items())
    # Of several shards the hash of the list of their hashes, as sha256sum prints it.
    source = hashes[files[0].name] if len(files) == 1 else hashlib.sha256(lines.encode()).hexdigest()
    ours = {"kind": layout.kind, "config": json.dumps(layout.config, sort_keys=True), "dialect": dialect,
            "source_dialect": layout.dialect, "source_format": network.format, "source_sha256": source,
            **{key: network.metadata[key] for key in _KEPT if key in network.metadata}}
    # "format" is what Hugging Face's programs ask for before they read a file.
    return ours if dialect == OURS else {**ours, "format": "pt", **_their_metadata(network, dialect)}


def _their_metadata(network: _Network, dialect: str) -> dict[str, str]:
    make = network.found.family.export_metadata.get(dialect)
    return make(network.tensors, network.found.layout.config) if make else {}


def _compare(tensors: "Mapping[str, np.ndarray | Bfloat16]", again: Mapping[str, np.ndarray]) -> None:
    """Raise UserError unless the tensors read from the new file, `again`, are those written, bit for bit."""
    if set(again) != set(tensors):
        raise UserError("the written file does not read back with the same tensors; the disk may be failing")
    for name, value in tensors.items():
        value = value.widen() if isinstance(value, Bfloat16) else np.asarray(value)
        same_shape = again[name].shape == value.shape and again[name].dtype == value.dtype.newbyteorder("=")
        if not same_shape or np.ascontiguousarray(again[name]).tobytes() != value.astype(again[name].dtype).tobytes():
            raise UserError(f"the written file does not read back as written (tensor {name!r}); "
                            "the disk may be failing")

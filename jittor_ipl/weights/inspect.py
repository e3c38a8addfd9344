"""What a weight file or folder is, what lies in it, and everything that is wrong with it; nothing from it is run."""
from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jittor_ipl.disk.integrity import file_sha256
from jittor_ipl.errors import UserError
from jittor_ipl.models.strict import compare, is_optional
from jittor_ipl.weights.containers.lazy import FileInfo, LazyTensors
from jittor_ipl.weights.containers.limits import UnsafeWeightsError
from jittor_ipl.weights.diffusion import base_sha256, stored_parts
from jittor_ipl.weights.families.registry import Recognised, identify, select
from jittor_ipl.weights.folder import TENSORS_SHA256, FileSet, find_file_sets, open_file_set
from jittor_ipl.weights.manifest import FolderManifest, read_folder_manifest
from jittor_ipl.weights.network import open_network
from jittor_ipl.weights.pipeline import read_pipeline
from jittor_ipl.weights.refs import PIPELINE_INDEX, locate, split_place

_SMALL = 64 << 20       # bytes of a refused file that are still hashed in no time
_MEND = "mend these problems first, for every command refuses the file: "
_COMPARE = "compare its SHA-256 with the published one, or save it anew where it was made"
_CHECKED = ("torch-zip", "torchscript", "jittor-pickle", "npz")     # with checksums: what is read is what was saved
_CHOOSE = "if the network is another part of the file, name that one: FILE#KEY, or --container KEY"
_LIST = "docs/formats.md tells which files are read"
_MAX_VALUE = 200        # characters of a metadata value or option in a report


class TensorEntry(NamedTuple):
    """One tensor, as the file stores it."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass
class NetworkReport:
    """One network: its files, its layout, its tensors and its problems (none when it is sound); all texts printable."""

    label: str = ""
    files: list[dict[str, Any]] = field(default_factory=list)       # name, bytes, sha256 (empty: large, and refused)
    format: str = ""
    container: str = ""
    kind: str = ""
    dialect: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    tensors: list[TensorEntry] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    beside: dict[str, tuple[int, ...]] = field(default_factory=dict)    # tensors beside the container
    values: dict[str, Any] = field(default_factory=dict)            # plain options found in the file
    not_read: list[str] = field(default_factory=list)               # optimisers, other networks, other formats
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)                # what is assumed of it, and why
    next_step: str = ""
    error: str = ""                                                 # why it could not be read at all
    refused_globals: list[str] = field(default_factory=list)        # what its pickle asked for, never run

    @property
    def parameters(self) -> int:
        """The number of values in all tensors."""
        return sum(math.prod(entry.shape) for entry in self.tensors)

    @property
    def bytes(self) -> int:
        """The size of all tensors as the file stores them."""
        widths = {dtype: 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize for dtype in self.dtypes}
        return sum(math.prod(entry.shape) * widths[entry.dtype] for entry in self.tensors)

    @property
    def dtypes(self) -> dict[str, int]:
        """How many tensors there are of each type."""
        return dict(Counter(entry.dtype for entry in self.tensors).most_common())

    def to_dict(self) -> dict[str, Any]:
        """Return the report for programs."""
        facts = {key: value for key, value in vars(self).items() if key != "tensors"}
        keys = [{**entry._asdict(), "shape": list(entry.shape)} for entry in self.tensors]
        return {**facts, "beside": {name: list(shape) for name, shape in self.beside.items()}, "tensors": len(keys),
                "parameters": self.parameters, "bytes": self.bytes, "dtypes": self.dtypes, "keys": keys}


@dataclass
class Inspection:
    """A file or folder: its networks, and the manifest that a folder of this project carries."""

    path: str
    networks: list[NetworkReport]
    manifest: FolderManifest | None = None

    @property
    def problems(self) -> list[str]:
        """All problems; those of one network among several begin with its label."""
        found = [f"{report.label}: {problem}" if report.label else problem
                 for report in self.networks for problem in report.problems]
        return found + (self.manifest.problems if self.manifest else [])

    @property
    def exit_code(self) -> int:
        """0 when sound, 1 when there are problems, 2 when something could not be read."""
        return 2 if any(report.error for report in self.networks) else int(bool(self.problems))

    def to_dict(self) -> dict[str, Any]:
        """Return everything for programs."""
        manifest = {"manifest": vars(self.manifest)} if self.manifest else {}
        return {"path": self.path, "sound": self.exit_code == 0, "problems": self.problems, **manifest,
                "networks": [report.to_dict() for report in self.networks]}


def inspect(ref: str | os.PathLike, container: str | None = None) -> Inspection:
    """Look at a file, a folder or `demo:<name>`; of a checkpoint with several networks the one under `container`.

    What cannot be read is told in the report's `error`. Raises UserError when there is nothing to look at.
    """
    path, (_, place) = locate(ref), split_place(ref)
    manifest = read_folder_manifest(path)
    checkpoint = manifest is not None and manifest.kind == "checkpoint"
    reports = [report for files in find_file_sets(path) for report in _look_at(files, checkpoint, container or place)]
    if (path / PIPELINE_INDEX).is_file():
        sound = not any(report.error or report.problems for report in reports)
        reports = [*(replace(report, next_step="") if sound else report for report in reports), _pipeline(path, sound)]
    return Inspection(os.fspath(ref), reports, manifest)


def _pipeline(path: Path, sound: bool) -> NetworkReport:
    """Return the report on what joins the parts of a diffusion pipeline: schedule, tokenizer, what does not fit.

    When its parts are `sound`, also the hash that ties a LoRA to it.
    """
    report = NetworkReport("pipeline", kind="diffusion pipeline", dialect="diffusers")
    try:
        pipeline = read_pipeline(path)
    except UserError as error:
        report.problems.append(_one_line(error))
        return report
    schedule = {name: value for name, value in vars(pipeline.scheduler).items() if name not in ("class_name", "others")}
    codec = pipeline.tokenizer
    report.config = {"pictures": pipeline.size, "scheduler": pipeline.scheduler.class_name, **schedule,
                     "tokens": len(codec.words), "context_length": codec.length, "pad_token": codec.pad}
    report.not_read, report.problems = list(pipeline.passed_over), list(pipeline.problems)
    if sound and not report.problems:
        report.metadata = {"base_sha256": base_sha256(stored_parts(path))}
        report.next_step = "docs/diffusion.md tells how it learns a style and makes pictures"
    return report


def _look_at(files: FileSet, checkpoint: bool, place: str | None) -> list[NetworkReport]:
    """Return the report on a file, then those on further networks in it; why it cannot be read, when it cannot."""
    report = NetworkReport(files.label)
    try:
        if not checkpoint:
            return [report, *_networks(report, files, place)]
        tensors, info = open_file_set(files).at()
        _describe(report, files, tensors, info)
        report.kind, report.problems = "training state", not_finite(tensors)        # which is no network alone
    except (UserError, OSError) as error:       # a damaged tensor is found when it is read
        report.error = _one_line(error)
        with suppress(UserError, OSError):
            report.files = _files(files, None if isinstance(error, UnsafeWeightsError) else _SMALL)
        report.refused_globals = [_safe(name) for name in getattr(error, "offending", ())]
    return [report]


def _networks(report: NetworkReport, files: FileSet, place: str | None) -> list[NetworkReport]:
    """Fill in what network it is and what is wrong with it; return the reports on its parts."""
    opened = open_network(files, place)     # first, for what is no weight file need not be hashed
    tensors, info, _, found, unknown = opened
    _describe(report, files, tensors, info)
    if found is None:
        report.problems += [_one_line(unknown), *not_finite(tensors)]
        report.next_step = _CHOOSE if info.container else _LIST
        return []
    _judge(report, found, select(found, tensors, info.extras))
    stated = info.metadata.get("kind", "").replace("_", "-")
    if stated not in ("", found.layout.kind):
        report.problems.append(f"its metadata calls it {_safe(stated)!r}, "
                               f"its tensors are those of {found.layout.kind!r}")
    report.next_step = _next_step(found, files, info) if not report.problems else _mend(report)
    parts = {part: inner for part in found.layout.parts if (inner := tensors.below(found.prefix + part))}
    if parts:
        report.tensors = _entries(select(found, tensors))
    return [_part(report, part, inner) for part, inner in parts.items()]


def _files(files: FileSet, limit: int | None = None) -> list[dict[str, Any]]:
    """Return name, size and hash of every file; those of more than `limit` bytes are not hashed."""
    sizes = {file: file.stat().st_size for file in files.files}
    return [{"name": file.name, "bytes": size, "sha256": file_sha256(file) if limit is None or size <= limit else ""}
            for file, size in sizes.items()]


def _describe(report: NetworkReport, files: FileSet, tensors: LazyTensors, info: FileInfo) -> None:
    report.files = _files(files)
    report.format, report.container = info.format, info.container
    report.metadata = {_safe(key): _safe(value) for key, value in info.metadata.items()}
    report.beside = {_safe(name): shape for name, shape in info.extras.shapes.items()}
    report.values = {_safe(str(name)): _safe(value) if isinstance(value, str) else value
                     for name, value in info.values.items() if isinstance(value, (str, int, float, bool, type(None)))}
    report.not_read = [*map(_safe, info.skipped), *map(_safe, files.unread)]
    report.tensors = _entries(tensors)


def _entries(tensors: LazyTensors) -> list[TensorEntry]:
    """Return what the report lists of `tensors`; none is read that is still in its file."""
    return [TensorEntry(_safe(name), entry.shape, entry.stored) for name, entry in tensors.entries.items()]


def _judge(report: NetworkReport, found: Recognised, mine: LazyTensors) -> None:
    layout = found.layout
    report.kind, report.dialect, report.config = layout.kind, layout.dialect, layout.config
    report.remarks = [_safe(remark, 600) for remark in layout.remarks]
    if found.prefix:
        report.dialect += f" (every name after {found.prefix!r})"
    misfits = compare(layout.expected, layout.optional, mine.shapes, mine.stored)
    report.problems += map(_one_line, misfits or found.family.faults(mine, layout))
    report.problems += not_finite(mine, skip=is_optional(layout.optional))


def _part(report: NetworkReport, prefix: str, tensors: LazyTensors) -> NetworkReport:
    """Return the report on the further network that lies under `prefix` in the same file."""
    label = "/".join(filter(None, (report.label, prefix.rstrip("."))))
    part = NetworkReport(label, report.files, report.format, report.container, tensors=_entries(tensors))
    try:
        _judge(part, identify(tensors.shapes), tensors)
    except UserError as error:
        part.problems += [_one_line(error), *not_finite(tensors)]
    part.next_step = "convert writes it as a file of its own" if not part.problems else _mend(part)
    return part


def _mend(report: NetworkReport) -> str:
    """Return what helps: fetching the file again only where its numbers may have been damaged on the way."""
    checked = report.format in _CHECKED or TENSORS_SHA256 in report.metadata
    damaged = not checked and any(" NaN and " in problem for problem in report.problems)
    return _MEND + ("fetch it again, " if damaged else "") + _COMPARE


def not_finite(tensors: Mapping[str, np.ndarray], skip: Callable[[str], object] = lambda name: False) -> list[str]:
    """Return one line for every tensor that holds NaN or infinity, `skip`ped names left out; reads one at a time."""
    problems = []
    for name in tensors:
        if skip(name):
            continue
        array = tensors[name]
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            nan, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
            problems.append(f"tensor {_safe(name)!r} holds {nan} NaN and {infinite} infinite of {array.size} values")
        elif array.dtype.kind == "f" and array.dtype.itemsize > 4 and (np.abs(array) > np.finfo(np.float32).max).any():
            problems.append(f"tensor {_safe(name)!r} holds values beyond float32's range, in which networks compute")
    return problems


def _next_step(found: Recognised, files: FileSet, info: FileInfo) -> str:
    step = found.family.next_step
    if not step and TENSORS_SHA256 not in info.metadata:
        step = "python -m jittor_ipl convert {file} --to weights"
    path = files.path if files.index is None else files.index.parent
    return step.replace("{source}", _safe(info.metadata.get("source", "SOURCE"))).replace("{file}", _safe(str(path)))


def _one_line(problem: object) -> str:
    return " ".join(str(problem).split())


def _safe(text: str, limit: int = _MAX_VALUE) -> str:
    """Return untrusted text without control characters, which a terminal would obey."""
    printable = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:limit])
    return printable + ("..." if len(text) > limit else "")

"""Read any weight file by what it contains, never by its name, and without running anything from it.

safetensors, PyTorch (zip, legacy stream, TorchScript), pickled arrays and dictionaries of them (Jittor's, JCLIP's and
Paddle's), NVIDIA's pickled networks, and NumPy arrays (.npy, .npz).
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.lazy import LazyArray, Tensors
from jittor_ipl.weights.containers.nested import BARE
from jittor_ipl.weights.containers.npy_file import MAGIC, open_npy, open_npz
from jittor_ipl.weights.containers.pickle.plain import is_pickle, open_pickle
from jittor_ipl.weights.containers.safetensors import open_safetensors
from jittor_ipl.weights.containers.sniff import describe_foreign
from jittor_ipl.weights.containers.source import ByteSource
from jittor_ipl.weights.containers.torch_file import Contents, is_legacy, open_legacy, open_zip
from jittor_ipl.weights.containers.unwrap import bounded, require_no_container, unwrap

_NPZ = (b".npy", b"PK\x05\x06")     # the first member's name, or an archive without members
Origin = "str | os.PathLike | bytes | bytearray | memoryview | BinaryIO"


@dataclass(frozen=True)
class FileInfo:
    """What a weight file was.

    `format` is safetensors, torch-zip, torch-legacy, torchscript, pickle, jittor-pickle, npy or npz; `metadata` is that
    of safetensors; `container` is the key that the tensors lay under ("" at the top); `extras` are tensors beside that
    container (such as rosinality's `latent_avg`); `skipped` names what else lay there (optimisers, options), `values`
    are the plain numbers and texts among the options, and `dtypes` the types that the file stores, by tensor.
    """

    format: str
    metadata: dict[str, str] = field(default_factory=dict)
    container: str = ""
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    values: dict[str, str | int | float | bool] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)


def read_tensors(origin: Origin, container: str | None = None) -> tuple[Tensors, FileInfo]:
    """Return the tensors of a weight file under their names, and what kind of file it was.

    `origin` is a path, the bytes themselves or an open binary file. Tensors are read when they are accessed, one at a
    time (`lazy.Tensors`). Of a checkpoint with several state dictionaries the one under `container` is taken, by
    default the first of g_ema, m, state_dict, ... that exists. Half precision stays, bfloat16 comes as float32; arrays
    are read-only. Memory stays below three times the file's size, or a few megabytes for small files.
    Raises UserError (one line: what the file is, what is expected); UnsafeWeightsError for a malformed or hostile file.
    """
    source = ByteSource(origin)
    try:
        return _read(source, container)
    except UserError as error:      # UnsafeWeightsError stays what it is
        error.args = (f"{source.name}: {error}", *error.args[1:])
        raise
    except OSError as error:
        raise UserError(f"cannot read {source.name}: {error.strerror or error}") from error


def _read(source: ByteSource, container: str | None) -> tuple[Tensors, FileInfo]:
    head = bytes(source.read(0, min(source.size, 4096)))
    if _is_safetensors(head, source.size):
        require_no_container(container)
        tensors, metadata = open_safetensors(source)
        return tensors, FileInfo("safetensors", metadata, dtypes=tensors.stored)
    if head.startswith(MAGIC):
        require_no_container(container)
        return _named(source, "npy", {BARE: open_npy(source)})
    if head.startswith(b"PK\x03\x04") and head[30:30 + int.from_bytes(head[26:28], "little")].endswith(_NPZ):
        require_no_container(container)
        return _named(source, "npz", *open_npz(source))
    contents = _open(source, head)
    found = unwrap(contents, container)
    tensors, extras = Tensors(found.tensors, source.name), Tensors(found.extras, source.name)
    return tensors, FileInfo(contents.format, {}, found.container, extras, found.skipped, found.values, tensors.stored)


def _named(source: ByteSource, kind: str, entries: dict[str, LazyArray], skipped: tuple[str, ...] = ()) -> tuple[Tensors, FileInfo]:
    if not entries:
        raise UserError("the file holds no arrays of numbers")
    bounded(entries.values(), source.size, packed=True)
    tensors = Tensors(entries, source.name)
    return tensors, FileInfo(kind, skipped=skipped, dtypes=tensors.stored)


def _is_safetensors(head: bytes, size: int) -> bool:
    # A header longer than the file is still meant as safetensors, and its reader says what is wrong.
    return size >= 10 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= 2**40


def _open(source: ByteSource, head: bytes) -> Contents:
    if head.startswith(b"PK\x03\x04"):
        return open_zip(source)
    if is_legacy(head):
        return open_legacy(source)
    if is_pickle(head, bytes(source.read(max(0, source.size - 64), min(64, source.size)))):
        return open_pickle(source)
    raise UserError(f"this is {describe_foreign(head)}; a weight file is expected (.safetensors, .pt, .pth or .pkl)")

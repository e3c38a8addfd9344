"""Read any weight file by what it contains, never by its name, and without running anything from it.

safetensors, PyTorch (zip, legacy stream, TorchScript), pickled arrays and dictionaries of them (Jittor's, JCLIP's and
Paddle's), NVIDIA's pickled networks, and single NumPy arrays (.npy).
"""
from __future__ import annotations

import hashlib
import os
import stat
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jittor_ipl.errors import UserError

from .npy_file import MAGIC, read_npy
from .nvidia_rules import networks_as_names
from .pickle_reader import read_pickle, refuse
from .plain_pickle import PlainRules
from .sniff import describe_foreign
from .tensors import read_safetensors
from .torch_file import Contents, is_legacy, open_legacy, open_zip
from .unwrap import unwrap
from .zip_reader import StoredZip

_JITTOR_TRAILER = b"HCAJSLHD"   # jt.save: pickle, SHA-1 of it, this mark


@dataclass(frozen=True)
class FileInfo:
    """What a weight file was.

    `format` is safetensors, torch-zip, torch-legacy, torchscript, pickle, jittor-pickle or npy; `metadata` is that of
    safetensors; `container` is the key that the tensors lay under ("" at the top); `extras` are tensors beside that
    container (such as rosinality's `latent_avg`); `skipped` names what else lay there (optimisers, options),
    and `values` are the plain numbers and texts among the options.
    """

    format: str
    metadata: dict[str, str] = field(default_factory=dict)
    container: str = ""
    extras: dict[str, np.ndarray] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    values: dict[str, str | int | float | bool] = field(default_factory=dict)


def read_tensors(path: str | os.PathLike, container: str | None = None) -> tuple[dict[str, np.ndarray], FileInfo]:
    """Return the tensors of a weight file under their names, and what kind of file it was.

    Of a checkpoint with several state dictionaries the one under `container` is taken, by default the first of g_ema,
    m, state_dict, ... that exists. Half precision stays, bfloat16 comes as float32. Arrays may be read-only.
    Raises UserError (one line: what the file is, what is expected); UnsafeWeightsError for a malformed or hostile pickle.
    """
    head, tail, size = _peek(path)
    if _is_safetensors(head, size):
        tensors, metadata = read_safetensors(path)
        return tensors, FileInfo("safetensors", metadata)
    try:
        with ExitStack() as stack:
            contents = _open(path, head, tail, stack)
            found = unwrap(contents, container)
    except UserError as error:      # UnsafeWeightsError stays what it is
        raise type(error)(f"{path}: {error}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    return found.tensors, FileInfo(contents.format, {}, found.container, found.extras, found.skipped, found.values)


def _peek(path: str | os.PathLike) -> tuple[bytes, bytes, int]:
    """Return a file's first bytes, last bytes and size; a pipe or device, which could wait for ever, is not opened."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UserError(f"{os.fspath(path)!r} is not a file; a weight file is expected (.safetensors, .pt, .pth or .pkl)")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(4096)
            file.seek(max(0, size - 64))
            return head, file.read(64), size
    except OSError as error:
        raise UserError(f"cannot read {os.fspath(path)!r}: {error.strerror or error}") from error


def _is_safetensors(head: bytes, size: int) -> bool:
    # A header longer than the file is still meant as safetensors, and its reader says what is wrong.
    return size >= 10 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= 2**40


def _open(path: str | os.PathLike, head: bytes, tail: bytes, stack: ExitStack) -> Contents:
    if head.startswith(MAGIC):
        return Contents("npy", read_npy(path), _no_references)
    if head.startswith(b"PK\x03\x04"):
        return open_zip(stack.enter_context(StoredZip(path)))
    if is_legacy(head):
        return open_legacy(path)
    if (head[:1] == b"\x80" and head[1:2] <= b"\x05") or (head[:1] in (b"(", b"]", b"}", b"c") and tail.endswith((b".", _JITTOR_TRAILER))):
        return _open_pickle(path)
    raise UserError(f"this is {describe_foreign(head)}; a weight file is expected (.safetensors, .pt, .pth or .pkl)")


def _open_pickle(path: str | os.PathLike) -> Contents:
    """Return the contents of a plain pickle, with or without Jittor's checksum trailer."""
    with open(path, "rb") as file:
        data = memoryview(file.read())
    kind = "pickle"
    if bytes(data[-8:]) == _JITTOR_TRAILER and len(data) > 28:
        kind, digest, data = "jittor-pickle", bytes(data[-28:-8]), data[:-28]
        if hashlib.sha1(data).digest() != digest:
            refuse("the checksum does not match; the file is damaged")
    rules = PlainRules(len(data))
    root, end = read_pickle(data, rules.find)
    if end != len(data):
        refuse(f"{len(data) - end} bytes after the end of the pickle")
    return Contents(kind, networks_as_names(root), rules.read)


def _no_references(_: Any) -> np.ndarray:
    return refuse("a reference to data outside the pickle")

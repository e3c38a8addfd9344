"""PyTorch's three file formats without PyTorch: zip archives, the legacy stream, TorchScript archives."""
from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jittor_ipl.errors import UserError

from .pickle_reader import read_pickle, refuse
from .torch_rules import (Budget, Storage, TensorRef, find_script_rule, find_torch_rule, itemsize, materialise,
                          storage_from_id)
from .zip_reader import StoredZip

LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."      # the integer 0x1950a86a20f9469cfc6c, pickled, after the protocol
_LEGACY_PROTOCOL = 1001


@dataclass(frozen=True)
class Contents:
    """An object tree with tensors not yet read, and how to read one."""

    format: str
    root: Any
    read: Callable[[TensorRef], np.ndarray]


def open_zip(archive: StoredZip) -> Contents:
    """Return the contents of `torch.save`'s or `torch.jit.save`'s archive (the archive must stay open while reading).

    Raises UserError (UnsafeWeightsError for the pickle inside) when it is neither.
    """
    if "data.pkl" not in archive:
        raise UserError("a zip archive without data.pkl is no PyTorch file")
    script = "constants.pkl" in archive
    data = archive.read("data.pkl")
    root, end = read_pickle(data, find_script_rule if script else find_torch_rule, storage_from_id)
    if end != len(data):
        refuse(f"{len(data) - end} bytes after the end of data.pkl")
    big_endian = "byteorder" in archive and _byte_order(archive.read("byteorder"))
    budget = Budget(archive.size)

    def read_storage(storage: Storage) -> bytes:
        name, expected = f"data/{storage.key}", storage.numel * itemsize(storage.code)
        if archive.length(name) != expected:
            refuse(f"storage {storage.key} has {archive.length(name)} bytes, {expected} expected")
        return archive.read(name)

    return Contents("torchscript" if script else "torch-zip", root, _reader(read_storage, big_endian, budget))


def _byte_order(record: bytes) -> bool:
    if record not in (b"little", b"big"):
        refuse("an unknown byte order")
    return record == b"big"


def _reader(read_storage: Callable[[Storage], Any], big_endian: bool, budget: Budget) -> Callable[[TensorRef], np.ndarray]:
    """Return a function that reads tensors, keeping the last storage: neighbours in a state dict often share one."""
    kept: dict[str, Any] = {}
    disk = Budget(budget.left)  # tensors that alternate between two large storages must not read them without end

    def read(ref: TensorRef) -> np.ndarray:
        if ref.storage.key not in kept:
            disk.spend(ref.storage.numel * itemsize(ref.storage.code))
            raw = read_storage(ref.storage)
            kept.clear()
            kept[ref.storage.key] = raw
        return materialise(ref, lambda storage: kept[storage.key], big_endian, budget)

    return read


def is_legacy(head: bytes) -> bool:
    """Tell whether a file that starts with `head` is a legacy PyTorch stream."""
    return head[:1] == b"\x80" and head[2:2 + len(LEGACY_MAGIC)] == LEGACY_MAGIC


def open_legacy(path: str | os.PathLike) -> Contents:
    """Return the contents of a file of `torch.save(..., _use_new_zipfile_serialization=False)`.

    Five pickles (magic, protocol, system, object, storage keys), then per key its length and its bytes.
    """
    with open(path, "rb") as file:
        data = memoryview(file.read())
    storages: dict[str, Storage] = {}

    def persistent(identifier: Any) -> Storage:
        storage = storage_from_id(identifier)
        known = storages.setdefault(storage.key, storage)
        if (known.code, known.numel) != (storage.code, storage.numel):
            refuse(f"storage {storage.key} is described in two ways")
        return storage

    position, parts = 0, []
    for resolve in (None, None, None, persistent, None):
        part, position = read_pickle(data, find_torch_rule, resolve, position)
        parts.append(part)
    _, protocol, system, root, keys = parts
    if protocol != _LEGACY_PROTOCOL or not isinstance(system, dict) or not isinstance(keys, list):
        refuse("a legacy PyTorch file with an unknown header")
    records = _legacy_records(data, position, keys, storages)
    big_endian = system.get("little_endian") is False
    return Contents("torch-legacy", root, _reader(lambda s: records[s.key], big_endian, Budget(len(data))))


def _legacy_records(data: memoryview, position: int, keys: list[Any], storages: dict[str, Storage]) -> dict[str, memoryview]:
    """Return the bytes of every storage; they must be exactly the announced ones and fill the rest of the file."""
    if len(keys) != len(storages) or not all(isinstance(key, str) and key in storages for key in keys):
        refuse("the storages of the file are not those its tensors name")
    records = {}
    for key in keys:
        size = storages[key].numel * itemsize(storages[key].code)
        if int.from_bytes(data[position:position + 8], "little") != storages[key].numel or key in records:
            refuse(f"storage {key} has another length than announced")
        records[key] = data[position + 8:position + 8 + size]
        position += 8 + size
    if position != len(data):
        refuse("the file is cut short, or bytes follow its last storage")
    return records

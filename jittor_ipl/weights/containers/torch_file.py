"""PyTorch's file formats without PyTorch: zip archives, TorchScript archives, the legacy stream (whole or nested)."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.limits import Meter, refuse
from jittor_ipl.weights.containers.pickle.machine import CutShort
from jittor_ipl.weights.containers.pickle.objects import Context, LongText, latin
from jittor_ipl.weights.containers.pickle.reader import read_pickle
from jittor_ipl.weights.containers.pickle.torch_rules import (
    Carried,
    Storage,
    find_script_rule,
    find_torch_rule,
    storage_from_id,
)
from jittor_ipl.weights.containers.source import ByteSource
from jittor_ipl.weights.containers.storage import Region
from jittor_ipl.weights.containers.zip_reader import StoredZip

LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."     # after the protocol: the integer 0x1950a86a20f9469cfc6c, pickled
_FRAME = b"\x95" + len(LEGACY_MAGIC).to_bytes(8, "little")     # before it from protocol 4 on
_LEGACY_PROTOCOL = 1001
_PREFIX = 8 << 20               # bytes of a legacy stream read at first; its pickles are rarely longer


@dataclass(frozen=True)
class Contents:
    """An object tree with tensors not yet read, and what says where the bytes of a storage are."""

    format: str
    root: Any
    locate: Callable[[Storage], Region]


def open_zip(source: ByteSource) -> Contents:
    """Return the contents of `torch.save`'s or `torch.jit.save`'s archive.

    Raises UserError (UnsafeWeightsError for the pickle inside) when it is neither.
    """
    meter = Meter(source.size)
    archive = StoredZip(source, meter)
    if "data.pkl" not in archive.records:
        raise UserError("a zip archive without data.pkl is no PyTorch file")
    script = "constants.pkl" in archive.records
    data = archive.read("data.pkl")
    root, end = read_pickle(data, Context(find_script_rule if script else find_torch_rule, meter), storage_from_id)
    if end != len(data):
        refuse(f"{len(data) - end} bytes after the end of data.pkl")
    order = bytes(archive.read("byteorder")) if "byteorder" in archive.records else b"little"
    if order not in (b"little", b"big"):
        refuse("an unknown byte order")

    def locate(storage: Storage) -> Region:
        name = f"data/{storage.key}"
        if archive.record(name).size != storage.nbytes:
            refuse(f"storage {storage.key} has {archive.record(name).size} bytes, {storage.nbytes} expected")
        return source, *archive.locate(name), order == b"big"

    return Contents("torchscript" if script else "torch-zip", root, locate)


def is_legacy(head: bytes | memoryview) -> bool:
    """Tell whether data that start with `head` are a legacy PyTorch stream."""
    head = bytes(head[:2 + len(_FRAME) + len(LEGACY_MAGIC)])
    return head[:1] == b"\x80" and head[2:].removeprefix(_FRAME).startswith(LEGACY_MAGIC)


def open_legacy(source: ByteSource) -> Contents:
    """Return the contents of a file of `torch.save(..., _use_new_zipfile_serialization=False)`."""
    length = min(_PREFIX, source.size)
    while True:
        try:
            root, _, regions = _read_stream(source, length, Context(find_torch_rule, Meter(source.size)))
            return Contents("torch-legacy", root, lambda storage: regions[storage.key])
        except CutShort:
            if length == source.size:
                raise
            length = min(2 * length, source.size)


def read_nested_stream(context: Context, data: Any) -> Any:
    """Return what a legacy stream inside a pickle holds (mostly one Storage); every Storage carries its own bytes.

    For a rule with `context=True`, such as that of `torch.storage._load_from_bytes`. `data` are the bytes (or, from
    protocols 0 to 2, latin-1 text) that the pickle built. Raises UnsafeWeightsError for anything but a whole stream.
    """
    if isinstance(data, (str, LongText)):
        context.meter.spend(len(data))
        data = data.narrow() if isinstance(data, LongText) else latin(data)
    if not isinstance(data, (bytes, bytearray, memoryview)) or not is_legacy(data[:64]):
        refuse("a nested PyTorch stream that is none (zip archives are not nested)")
    source = ByteSource(data)
    root, storages, regions = _read_stream(source, source.size, context.deeper(), nested=True)
    for key, storage in storages.items():
        storage.carried.region = regions[key]
    return root


def _read_stream(source: ByteSource, length: int, context: Context,
                 nested: bool = False) -> tuple[Any, dict[str, Storage], dict[str, Region]]:
    """Read the five pickles of a legacy stream (magic, protocol, system, object, storage keys) in its first bytes.

    Return the object, the storages that it names, and where their bytes are.
    """
    storages: dict[str, Storage] = {}

    def persistent(identifier: Any) -> Storage:
        storage = storage_from_id(identifier)
        if nested:
            known = storages.get(storage.key)
            storage = replace(storage, carried=known.carried if known else Carried())
        first = storages.setdefault(storage.key, storage)
        if (first.code, first.numel) != (storage.code, storage.numel):
            refuse(f"storage {storage.key} is described in two ways")
        return first if first.start == storage.start else storage       # a window of it

    data, position, parts = source.read(0, length), 0, []
    for resolve in (None, None, None, persistent, None):
        part, position = read_pickle(data, context, resolve, position)
        parts.append(part)
    _, protocol, system, root, keys = parts
    if protocol != _LEGACY_PROTOCOL or not isinstance(system, dict) or not isinstance(keys, list):
        refuse("a legacy PyTorch file with an unknown header")
    if len(keys) != len(storages) or not all(isinstance(key, str) for key in keys) or set(keys) != set(storages):
        refuse("the storages of the file are not those its tensors name")
    big_endian = system.get("little_endian") is False
    return root, storages, _regions(source, position, [storages[key] for key in keys], big_endian)


def _regions(source: ByteSource, position: int, storages: list[Storage], big_endian: bool) -> dict[str, Region]:
    """Return where each storage of a legacy stream is: one after another, each after its length, up to the end."""
    regions: dict[str, Region] = {}
    for storage in storages:
        start, count = position + 8, storage.nbytes
        if start + count > source.size or int.from_bytes(source.read(position, 8), "little") != storage.numel:
            refuse(f"storage {storage.key} is cut short or has another length than announced")
        regions[storage.key] = source, start, count, None, big_endian
        position = start + count
    if position != source.size:
        refuse("bytes follow the last storage of the file")
    return regions

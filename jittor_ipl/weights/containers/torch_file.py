"""PyTorch's file formats without PyTorch: zip archives, TorchScript archives, the legacy stream (whole or nested)."""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.lazy import LazyArray
from jittor_ipl.weights.containers.limits import Meter, refuse
from jittor_ipl.weights.containers.pickle.machine import CutShort
from jittor_ipl.weights.containers.pickle.objects import Context, LongText, latin
from jittor_ipl.weights.containers.pickle.reader import read_inner, read_pickle
from jittor_ipl.weights.containers.pickle.torch_rules import (
    CarriedBytes,
    Storage,
    TensorRef,
    find_script_rule,
    find_torch_rule,
    storage_from_id,
)
from jittor_ipl.weights.containers.source import ByteSource
from jittor_ipl.weights.containers.storage import StorageReader
from jittor_ipl.weights.containers.zip_reader import StoredZip

LEGACY_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."     # after the protocol: the integer 0x1950a86a20f9469cfc6c, pickled
_FRAME = b"\x95" + len(LEGACY_MAGIC).to_bytes(8, "little")     # before it from protocol 4 on
_LEGACY_PROTOCOL = 1001
_PREFIX = 8 << 20               # bytes of a legacy stream read at first; its pickles are rarely longer


@dataclass(frozen=True)
class Contents:
    """An object tree with tensors not yet read, and what turns one of them into a LazyArray."""

    format: str
    root: Any
    lazy: Callable[[TensorRef], LazyArray]
    size: int


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
    root, end = read_pickle(data, find_script_rule if script else find_torch_rule, storage_from_id, meter=meter)
    if end != len(data):
        refuse(f"{len(data) - end} bytes after the end of data.pkl")
    big_endian = "byteorder" in archive.records and _byte_order(bytes(archive.read("byteorder")))

    def locate(storage: Storage) -> Any:
        name = f"data/{storage.key}"
        if archive.record(name).size != storage.nbytes:
            refuse(f"storage {storage.key} has {archive.record(name).size} bytes, {storage.nbytes} expected")
        return source, *archive.locate(name)

    kind, reader = "torchscript" if script else "torch-zip", StorageReader(locate, big_endian, source.size)
    return Contents(kind, root, reader.lazy, source.size)


def _byte_order(record: bytes) -> bool:
    if record not in (b"little", b"big"):
        refuse("an unknown byte order")
    return record == b"big"


def is_legacy(head: bytes | memoryview) -> bool:
    """Tell whether data that start with `head` are a legacy PyTorch stream."""
    head = bytes(head[:2 + len(_FRAME) + len(LEGACY_MAGIC)])
    return head[:1] == b"\x80" and head[2:].removeprefix(_FRAME).startswith(LEGACY_MAGIC)


def open_legacy(source: ByteSource) -> Contents:
    """Return the contents of a file of `torch.save(..., _use_new_zipfile_serialization=False)`."""
    length = min(_PREFIX, source.size)
    while True:
        data = source.read(0, length)
        try:
            stream = _read_stream(data, Context(find_torch_rule, Meter(source.size)))
            break
        except CutShort:
            if length == source.size:
                raise
            length = min(2 * length, source.size)
    records = stream.records(source.size, lambda start: source.read(start, 8))
    reader = StorageReader(lambda storage: (source, *records[storage.key]), stream.big_endian, source.size)
    return Contents("torch-legacy", stream.root, reader.lazy, source.size)


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
    view = memoryview(data)
    stream = _read_stream(view, context.deeper(), nested=True)
    records = stream.records(len(view), lambda start: view[start:start + 8])
    for key, storage in stream.storages.items():
        start, size, _ = records[key]
        storage.carried.data, storage.carried.big_endian = view[start:start + size], stream.big_endian
    return stream.root


@dataclass(frozen=True)
class _Stream:
    """The pickles of a legacy stream; its storages' bytes follow at `position` in the order of `keys`."""

    root: Any
    storages: dict[str, Storage]
    keys: list[Any]
    big_endian: bool
    position: int

    def records(self, size: int, read_length: Callable[[int], Any]) -> dict[str, tuple[int, int, None]]:
        """Return (start, byte count, no checksum) of every storage.

        They must be exactly the announced ones, each after its length, and fill the rest of the stream.
        """
        if len(self.keys) != len(self.storages) or not all(isinstance(key, str) for key in self.keys) \
                or set(self.keys) != set(self.storages):
            refuse("the storages of the file are not those its tensors name")
        records, position = {}, self.position
        for key in self.keys:
            storage = self.storages[key]
            if position + 8 + storage.nbytes > size or int.from_bytes(read_length(position), "little") != storage.numel:
                refuse(f"storage {key} is cut short or has another length than announced")
            records[key] = position + 8, storage.nbytes, None
            position += 8 + storage.nbytes
        if position != size:
            refuse("bytes follow the last storage of the file")
        return records


def _read_stream(data: memoryview, context: Context, nested: bool = False) -> _Stream:
    """Read the five pickles of a legacy stream: magic, protocol, system, object, storage keys."""
    storages: dict[str, Storage] = {}

    def persistent(identifier: Any) -> Storage:
        storage = storage_from_id(identifier)
        if nested:
            known = storages.get(storage.key)
            storage = replace(storage, carried=known.carried if known else CarriedBytes())
        first = storages.setdefault(storage.key, storage)
        if (first.code, first.numel) != (storage.code, storage.numel):
            refuse(f"storage {storage.key} is described in two ways")
        return first if first.start == storage.start else storage       # a window of it

    position, parts = 0, []
    for resolve in (None, None, None, persistent, None):
        part, position = read_inner(data, context, resolve, position)
        parts.append(part)
    _, protocol, system, root, keys = parts
    if protocol != _LEGACY_PROTOCOL or not isinstance(system, dict) or not isinstance(keys, list):
        refuse("a legacy PyTorch file with an unknown header")
    return _Stream(root, storages, keys, system.get("little_endian") is False, position)

"""A storage's bytes as a flat array, and tensors as views of it: each storage is read once for all that share it."""
from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from jittor_ipl.weights.containers.bfloat16 import BFLOAT16, widen_bfloat16
from jittor_ipl.weights.containers.lazy import LazyArray
from jittor_ipl.weights.containers.limits import refuse
from jittor_ipl.weights.containers.pickle.numpy_rules import readonly
from jittor_ipl.weights.containers.pickle.torch_rules import Storage, TensorRef, itemsize
from jittor_ipl.weights.containers.source import ByteSource

Region = tuple[ByteSource, int, int, "int | None"]  # where it is read, first byte, byte count, CRC-32 if there is one
_MAX_REREADS = 64               # times the file's size that tensors in file order may make us read
_SPARE = 64 << 20


class StorageReader:
    """Turns the `TensorRef`s of one file into LazyArrays.

    `locate(storage)` says where a storage's bytes lie and raises UnsafeWeightsError when they do not fit it.
    """

    def __init__(self, locate: Callable[[Storage], Region], big_endian: bool, file_size: int) -> None:
        self._locate, self._big_endian = locate, big_endian
        self._reads_left = _MAX_REREADS * file_size + _SPARE
        self._previous: tuple | None = None
        self._known: dict[tuple, LazyArray] = {}
        self._alive: WeakValueDictionary[tuple, np.ndarray] = WeakValueDictionary()
        self._kept: np.ndarray | None = None    # the storage read last: neighbours in a state dict often share one

    def lazy(self, ref: TensorRef) -> LazyArray:
        """Return the tensor as a LazyArray (the same one for equal references).

        Raises UnsafeWeightsError when its storage is missing or of another size.
        """
        key = ref, id(ref.storage.carried)
        if key not in self._known:
            region = self._region(ref.storage)
            self._count_reads(ref)
            dtype = np.dtype("f4" if ref.code == BFLOAT16 else ref.code)
            stored = BFLOAT16 if ref.code == BFLOAT16 else dtype.name
            copies = 0 if _is_contiguous(ref) else math.prod(ref.shape) * dtype.itemsize
            self._known[key] = LazyArray(ref.shape, dtype, stored, lambda: self._load(ref, region), copies)
        return self._known[key]

    def _region(self, storage: Storage) -> Region:
        if storage.carried is not None:
            return ByteSource(storage.carried.data), 0, len(storage.carried.data), None
        return self._locate(storage)

    def _count_reads(self, ref: TensorRef) -> None:
        """Tensors that alternate between two large storages must not make us read them without end."""
        place = ref.storage.key, id(ref.storage.carried), ref.code
        if place != self._previous:
            self._reads_left -= ref.storage.nbytes
            self._previous = place
        if self._reads_left < 0:
            refuse("its tensors alternate between storages so often that the file would be read over and over")

    def _load(self, ref: TensorRef, region: Region) -> np.ndarray:
        start = ref.storage.start + ref.offset
        if _is_contiguous(ref):
            flat = self._flat(ref, region, ref.code)
            return readonly(flat[start:start + math.prod(ref.shape)].reshape(ref.shape)) if math.prod(ref.shape) \
                else np.empty(ref.shape, flat.dtype)
        narrow = "u2" if ref.code == BFLOAT16 else ref.code
        flat = self._flat(ref, region, narrow)
        strides = [stride * flat.itemsize for stride in ref.strides]
        view = np.lib.stride_tricks.as_strided(flat[start:], ref.shape, strides, writeable=False)
        array = np.array(view, order="C")
        if ref.code != BFLOAT16:
            return readonly(array)
        self._kept = flat = view = None     # a widened tensor is larger than its storage: let that go first
        return readonly(widen_bfloat16(array))

    def _flat(self, ref: TensorRef, region: Region, code: str) -> np.ndarray:
        """Return the whole storage as a flat array of `code`, native and read-only; bfloat16 widened."""
        place = ref.storage.key, id(ref.storage.carried), code
        flat = self._alive.get(place)
        if flat is None:
            self._kept = None
            carried = ref.storage.carried
            big_endian = self._big_endian if carried is None else carried.big_endian
            flat = self._alive[place] = _read_flat(region, code, big_endian)
        self._kept = flat
        return flat


def _is_contiguous(ref: TensorRef) -> bool:
    expected = 1
    for size, stride in zip(reversed(ref.shape), reversed(ref.strides)):
        if size != 1 and stride != expected:
            return math.prod(ref.shape) == 0
        expected *= size
    return True


def _read_flat(region: Region, code: str, big_endian: bool) -> np.ndarray:
    """Read a storage a few megabytes at a time, checking its CRC and widening bfloat16 on the way."""
    source, start, size, expected = region
    width = itemsize(code)
    flat = np.empty(size // width, "f4" if code == BFLOAT16 else code)
    checksum, at = 0, 0
    for place, count in source.chunks(start, size):
        raw = source.read(place, count)
        checksum = zlib.crc32(raw, checksum)
        part = _native(raw[:count - count % width], code, big_endian)
        flat[at:at + len(part)] = part
        at += len(part)
    if expected is not None and checksum != expected:
        refuse("its bytes are damaged (the checksum does not match)")
    return readonly(flat)


def _native(raw: Any, code: str, big_endian: bool) -> np.ndarray:
    kind = np.dtype({BFLOAT16: "u2", "?": "u1"}.get(code, code))
    part = np.frombuffer(raw, kind.newbyteorder(">" if big_endian else "<"))
    return widen_bfloat16(part) if code == BFLOAT16 else part != 0 if code == "?" else part

"""A storage's bytes as a flat array, and tensors as views of it: each storage is read once for all that share it."""
from __future__ import annotations

import math
from collections.abc import Callable
from weakref import WeakValueDictionary

import numpy as np

from jittor_ipl.weights.containers.bfloat16 import BFLOAT16, widen_bfloat16
from jittor_ipl.weights.containers.lazy import LazyArray
from jittor_ipl.weights.containers.limits import refuse
from jittor_ipl.weights.containers.pickle.numpy_rules import readonly
from jittor_ipl.weights.containers.pickle.torch_rules import Storage, TensorRef
from jittor_ipl.weights.containers.source import ByteSource

# Where a storage is read: source, first byte, byte count, CRC-32 if there is one, whether it is big-endian
Region = tuple[ByteSource, int, int, "int | None", bool]
_MAX_REREADS = 64               # times the file's size that tensors in file order may make us read
_SPARE = 64 << 20


class StorageReader:
    """Turns the `TensorRef`s of one file into LazyArrays.

    `locate(storage)` says where a storage's bytes lie and raises UnsafeWeightsError when they do not fit it.
    """

    def __init__(self, locate: Callable[[Storage], Region], file_size: int) -> None:
        self._locate = locate
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
            carried = ref.storage.carried
            region = self._locate(ref.storage) if carried is None else carried.region
            self._count_reads(ref)
            dtype = np.dtype("f4" if ref.code == BFLOAT16 else ref.code)
            stored = BFLOAT16 if ref.code == BFLOAT16 else dtype.name
            copies = 0 if _is_contiguous(ref) else math.prod(ref.shape) * dtype.itemsize
            self._known[key] = LazyArray(ref.shape, dtype, stored, lambda: self._load(ref, region), copies)
        return self._known[key]

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
            source, start, count, crc, big_endian = region
            flat = self._alive[place] = readonly(source.numbers(start, count, code, crc, big_endian))
        self._kept = flat
        return flat


def _is_contiguous(ref: TensorRef) -> bool:
    expected = 1
    for size, stride in zip(reversed(ref.shape), reversed(ref.strides)):
        if size != 1 and stride != expected:
            return math.prod(ref.shape) == 0
        expected *= size
    return True

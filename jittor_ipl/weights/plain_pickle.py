"""Tensors in plain pickles: a storage is there as the bytes of a PyTorch stream of its own.

`pickle.dump` of a tensor calls `torch.storage._load_from_bytes(bytes)`, and those bytes are a legacy stream that holds one
storage; so it is from PyTorch 1.0 to 2.x, which pass `_use_new_zipfile_serialization=False`. NVIDIA's networks are saved so.
"""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .nvidia_rules import INERT_RULES, NVIDIA_RULES
from .pickle_reader import Rule, read_pickle, refuse
from .torch_file import is_legacy
from .torch_rules import Budget, Storage, TensorRef, find_torch_rule, itemsize, materialise, storage_from_id

_HEADER = 1024              # bytes; the five pickles of a stream with one storage take about 250
_MAX_STREAMS = 10_000       # a 1024 px snapshot (G, D, G_ema, augmentation) has about 600


@dataclass(frozen=True)
class _Inline(Storage):
    """A storage whose bytes lie in the pickle itself."""

    raw: memoryview = memoryview(b"")


class PlainRules:
    """The allow-list for one plain pickle of `size` bytes: `find` for the reader, `read` for the tensors it found."""

    def __init__(self, size: int) -> None:
        self._streams: dict[int, tuple[bytes, _Inline]] = {}
        self._budget = Budget(size)
        self._own: Mapping[tuple[str, str], Rule] = {("torch.storage", "_load_from_bytes"): Rule(call=self._storage), **NVIDIA_RULES}

    def find(self, module: str, name: str) -> Rule | None:
        """Return the rule for a global of a plain pickle, None for all others."""
        return self._own.get((module, name)) or find_torch_rule(module, name) or INERT_RULES.get((module, name))

    def read(self, ref: TensorRef) -> np.ndarray:
        """Return a tensor of this pickle as an array over the pickle's own bytes."""
        if not isinstance(ref.storage, _Inline):
            refuse("a reference to data outside the pickle")
        return materialise(ref, lambda storage: storage.raw, False, self._budget)

    def _storage(self, raw: Any) -> _Inline:
        """Return the storage in a stream; the same bytes are read once however often the pickle repeats them."""
        if not isinstance(raw, bytes) or not is_legacy(raw[:64]):
            refuse("a tensor whose bytes are no legacy PyTorch stream")
        if id(raw) not in self._streams:
            if len(self._streams) == _MAX_STREAMS:
                refuse(f"more than {_MAX_STREAMS} tensors")
            self._streams[id(raw)] = raw, _one_storage(memoryview(raw))     # holding `raw` keeps its id its own
        return self._streams[id(raw)][1]


def _one_storage(data: memoryview) -> _Inline:
    """Read magic, protocol, system, storage and keys, then the storage's length and bytes, which must end the stream."""
    position, parts = 0, []
    for resolve in (None, None, None, storage_from_id, None):
        part, position = read_pickle(data[:_HEADER], find_torch_rule, resolve, position)
        parts.append(part)
    _, _, system, storage, keys = parts
    if not isinstance(storage, Storage) or not isinstance(system, dict) or system.get("little_endian") is False:
        refuse("a tensor whose bytes hold something else than one little-endian storage")
    size = storage.numel * itemsize(storage.code)
    if keys != [storage.key] or len(data) != position + 8 + size or int.from_bytes(data[position:position + 8], "little") != storage.numel:
        refuse("a tensor's storage is cut short or has another length than announced")
    return _Inline(storage.key, storage.code, storage.numel, storage.start, data[position + 8:])

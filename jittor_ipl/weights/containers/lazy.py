"""Tensors that stay in their file until they are asked for, one at a time, and what kind of file that is."""
from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.limits import UnsafeWeightsError


@dataclass(frozen=True)
class LazyArray:
    """A tensor not yet read: its shape, the type it will have, the type the file stores, and how to read it.

    `stored` is a NumPy name or bfloat16 (which is delivered as float32). `load` returns a read-only array, which may
    share memory with other tensors of the file; it raises UserError when the bytes are damaged. `copies` is how many
    bytes of its own the array takes, beyond what the file's other arrays share.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    stored: str
    load: Callable[[], np.ndarray]
    copies: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the array once read."""
        return math.prod(self.shape) * self.dtype.itemsize


class LazyTensors(Mapping[str, np.ndarray]):
    """Names and tensors of a weight file in file order; each access reads one, so drop it before taking the next.

    `entries` tells shapes and types without reading. `dict(tensors)` reads all. The file stays open as long as this
    object lives, and a file replaced meanwhile by a rename changes nothing. Access raises UserError (with `source`
    and the tensor's name) when its bytes are damaged.
    """

    def __init__(self, entries: Mapping[str, LazyArray], source: str = "the file") -> None:
        self.entries = dict(entries)
        self.source = source
        # One tensor under two names is one array as long as somebody holds it.
        self._alive: WeakValueDictionary[int, np.ndarray] = WeakValueDictionary()

    @classmethod
    def of(cls, tensors: Mapping[str, np.ndarray]) -> "LazyTensors":
        """Return named arrays as LazyTensors: those of a file as they are, others as arrays in memory."""
        return tensors if isinstance(tensors, LazyTensors) else cls(
            {name: LazyArray(array.shape, array.dtype, array.dtype.name, lambda array=array: array)
             for name, array in tensors.items()})

    def renamed(self, names: Mapping[str, str]) -> "LazyTensors":
        """Return some of the tensors under new names, `names` being new name -> name here; nothing is read."""
        return LazyTensors({new: self.entries[name] for new, name in names.items()}, self.source)

    def below(self, prefix: str) -> "LazyTensors":
        """Return the tensors whose names begin with `prefix`, without it; nothing is read."""
        return self.renamed({name[len(prefix):]: name for name in self.entries if name.startswith(prefix)})

    def __getitem__(self, name: str) -> np.ndarray:
        entry = self.entries[name]
        array = self._alive.get(id(entry))
        if array is not None:
            return array
        try:
            array = self._alive[id(entry)] = entry.load()
            return array
        except UserError as error:
            raise type(error)(f"{self.source}: tensor {name[:100]!a}: {error}") from error
        except OSError as error:
            raise UserError(f"{self.source}: cannot read tensor {name[:100]!a}: {error.strerror or error}") from error
        except MemoryError as error:
            where = f"{self.source}: no memory for tensor {name[:100]!a} of shape {list(entry.shape)}"
            raise UnsafeWeightsError(where) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self.entries     # Mapping's own would read the tensor

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape by name, without reading."""
        return {name: entry.shape for name, entry in self.entries.items()}

    @property
    def stored(self) -> dict[str, str]:
        """Type in the file by name (a NumPy name or bfloat16), without reading."""
        return {name: entry.stored for name, entry in self.entries.items()}


@dataclass(frozen=True)
class FileInfo:
    """What a weight file was.

    `format` is safetensors, torch-zip, torch-legacy, torchscript, pickle, jittor-pickle, npy or npz; `metadata` is that
    of safetensors; `container` is the place that the tensors lay at ("" at the top); `extras` are tensors beside that
    place (such as rosinality's `latent_avg`); `skipped` names what else lay there (optimisers, options), `values` are
    the plain numbers and texts among the options.
    """

    format: str
    metadata: dict[str, str] = field(default_factory=dict)
    container: str = ""
    extras: LazyTensors = field(default_factory=lambda: LazyTensors({}))
    skipped: tuple[str, ...] = ()
    values: dict[str, str | int | float | bool] = field(default_factory=dict)

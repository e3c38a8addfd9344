"""Read any weight file by what it contains, never by its name, and without running anything from it.

safetensors, PyTorch (zip, legacy stream, TorchScript), pickled arrays and dictionaries of them (Jittor's, JCLIP's and
Paddle's), NVIDIA's pickled networks, and NumPy arrays (.npy, .npz).
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from types import MappingProxyType

from jittor_ipl.errors import UserError, nearest
from jittor_ipl.weights.containers.lazy import FileInfo, LazyArray, LazyTensors
from jittor_ipl.weights.containers.limits import shown
from jittor_ipl.weights.containers.nested import BARE
from jittor_ipl.weights.containers.npy_file import MAGIC, open_npy, open_npz
from jittor_ipl.weights.containers.pickle.plain import is_pickle, open_pickle
from jittor_ipl.weights.containers.safetensors import open_safetensors
from jittor_ipl.weights.containers.sniff import describe_foreign
from jittor_ipl.weights.containers.source import ByteSource, Origin
from jittor_ipl.weights.containers.torch_file import is_legacy, open_legacy, open_zip
from jittor_ipl.weights.containers.unwrap import ObjectTree, listed

_NPZ = (b".npy", b"PK\x05\x06")     # the first member's name, or an archive without members
_MAX_DEPTH, _MAX_DICTIONARIES = 8, 100      # where a network is looked for: parts of a prefix, dictionaries of a file
_At = Callable[["str | None"], "tuple[LazyTensors, FileInfo]"]


class WeightFile:
    """An opened weight file: the places in it that hold tensors, and what lies at each.

    A place is the dotted path of a dictionary ("model.g_ema"; "" is the top) or of names in it that begin alike
    ("state_dict.generator"). `dictionaries` are the paths of the former; `at` returns what lies at one of them, by
    default (None) at the best of them; `metadata` is that of safetensors.
    """

    def __init__(self, name: str, dictionaries: Sequence[str], at: _At,
                 metadata: Mapping[str, str] = MappingProxyType({})) -> None:
        self.name, self.dictionaries, self.metadata, self._at = name, dictionaries, metadata, cache(at)

    @classmethod
    def flat(cls, tensors: LazyTensors, info: FileInfo) -> "WeightFile":
        """Return a file of nothing but named tensors."""
        return cls(tensors.source, ("",), lambda _: (tensors, info), info.metadata)

    def at(self, place: str | None = None) -> tuple[LazyTensors, FileInfo]:
        """Return the tensors at a place under their names there, and what kind of file it is; what lies beside the
        place is among its extras or skipped. Raises UserError when there is nothing, or when None leaves a choice."""
        if place is None or place in self.dictionaries:
            return self._at(place)
        for path in sorted(self.dictionaries, key=len, reverse=True):
            if place.startswith(f"{path}." if path else ""):
                tensors, info = self._at(path)
                prefix = place[len(path) + 1 if path else 0:] + "."
                if inside := tensors.below(prefix):
                    beside = {name: entry for name, entry in tensors.entries.items() if not name.startswith(prefix)}
                    extras = LazyTensors({**info.extras.entries, **beside}, tensors.source)
                    return inside, replace(info, container=place, extras=extras)
        known = [path for path in self.dictionaries if path]
        raise UserError(f"{self.name}: no tensors under {shown(place)!r}{nearest(place, known)}; "
                        + (f"there are {listed(known)}" if known else "the file has no containers, so name it alone"))

    def places(self, fewest: int) -> list[str]:
        """Return every place with at least `fewest` tensors, the outer ones first."""
        found = []
        for path in self.dictionaries[:_MAX_DICTIONARIES]:
            with suppress(UserError):       # a damaged one is no place for a network
                names = list(self._at(path)[0])
                starts = Counter(prefix for name in names for prefix in _prefixes(name))
                found += [path] if len(names) >= fewest else []
                found += [f"{path}.{start}" if path else start for start, count in starts.items() if count >= fewest]
        return sorted(dict.fromkeys(found), key=lambda place: place.count(".") + bool(place))


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:depth]) for depth in range(1, min(len(parts), _MAX_DEPTH))]


def read_tensors(origin: Origin, place: str | None = None) -> tuple[LazyTensors, FileInfo]:
    """Return the tensors of a weight file under their names, and what kind of file it was.

    `origin` is a path, the bytes themselves or an open binary file. Tensors are read when they are accessed, one at a
    time. Of a checkpoint with several state dictionaries the one at `place` is taken (see `WeightFile`), by default the
    first of g_ema, m, state_dict, ... that exists. Half precision stays, bfloat16 comes as float32; arrays are
    read-only. Memory stays below three times the file's size, or a few megabytes for small files.
    Raises UserError (one line: what the file is, what is expected); UnsafeWeightsError for a malformed or hostile file.
    """
    return open_weights(origin).at(place)


def open_weights(origin: Origin) -> WeightFile:
    """Return the opened weight file; raises as `read_tensors` does."""
    source = ByteSource(origin)
    with source.naming_errors():
        head = bytes(source.read(0, min(source.size, 4096)))
        if _is_safetensors(head, source.size):
            tensors, metadata = open_safetensors(source)
            return WeightFile.flat(tensors, FileInfo("safetensors", metadata))
        if head.startswith(MAGIC):
            return _arrays(source, "npy", {BARE: open_npy(source)})
        if head.startswith(b"PK\x03\x04") and head[30:30 + int.from_bytes(head[26:28], "little")].endswith(_NPZ):
            return _arrays(source, "npz", *open_npz(source))
        if head.startswith(b"PK\x03\x04"):
            contents = open_zip(source)
        elif is_legacy(head):
            contents = open_legacy(source)
        elif is_pickle(head, bytes(source.read(max(0, source.size - 64), min(64, source.size)))):
            contents = open_pickle(source)
        else:
            foreign = describe_foreign(head)
            raise UserError(f"this is {foreign}; a weight file is expected (.safetensors, .pt, .pth or .pkl)")
        tree = ObjectTree(contents, source)
    return WeightFile(source.name, tree.dictionaries, tree.at)


def _arrays(source: ByteSource, kind: str, entries: dict[str, LazyArray], skipped: tuple[str, ...] = ()) -> WeightFile:
    if not entries:
        raise UserError("the file holds no arrays of numbers")
    return WeightFile.flat(LazyTensors(entries, source.name), FileInfo(kind, skipped=skipped))


def _is_safetensors(head: bytes, size: int) -> bool:
    # A header longer than the file is still meant as safetensors, and its reader says what is wrong.
    return size >= 10 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= 2**40

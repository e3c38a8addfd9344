"""Find the network's tensors in what a checkpoint holds: bare, under a well-known key, or as a TorchScript object."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.lazy import FileInfo, LazyArray, LazyTensors
from jittor_ipl.weights.containers.limits import described, refuse, shown
from jittor_ipl.weights.containers.nested import numbered, walk
from jittor_ipl.weights.containers.pickle.numpy_rules import ArrayStub
from jittor_ipl.weights.containers.pickle.nvidia_rules import FlatNetwork
from jittor_ipl.weights.containers.pickle.objects import Record
from jittor_ipl.weights.containers.pickle.torch_rules import TensorRef
from jittor_ipl.weights.containers.source import ByteSource
from jittor_ipl.weights.containers.storage import StorageReader
from jittor_ipl.weights.containers.torch_file import Contents

# Where known programs put the network, best first: rosinality/IPL/NADA, the IPL mapper, Lightning and many others;
# NVIDIA's averaged generators (PyTorch, TensorFlow) and PaddleGAN's.
CONTAINERS = ("g_ema", "m", "state_dict", "params_ema", "model", "G_ema", "Gs", "gen_ema")
_MAX_TENSORS = 100_000
_MAX_VISITED, _MAX_NESTED = 10_000, 3
_SPARE = 4 << 20
_MODULE_HINT = ("a whole pickled model, whose code would have to be run; in the program that wrote it, save "
                "model.state_dict() instead")
NAME_PLACE = "name one of them, as FILE#KEY"
_OPTIONS, _MAX_OPTIONS, _MAX_TEXT = ("opts", "args", "config"), 500, 200


class ObjectTree:
    """The object tree of a file, and the `dictionaries` in it that hold tensors, by their dotted paths ("" is the top).

    Raises UserError for an object that is no tree of tensors.
    """

    def __init__(self, contents: Contents, source: ByteSource) -> None:
        self._format, self._source, root = contents.format, source, contents.root
        self._reader = StorageReader(contents.locate, source.size)
        if isinstance(root, (list, tuple)) and root and all(map(_holds_tensors, root)):
            root = {str(index): part for index, part in enumerate(root)}        # a list of state dictionaries
        self._root = root
        if isinstance(root, Record) and contents.format != "torchscript":
            raise UserError(f"the file holds {_MODULE_HINT}")
        # TorchScript objects, and files of latents, styles or directions, hold their tensors without dictionaries.
        self._nameless = not isinstance(root, dict) or _lists_tensors(root)
        if self._nameless and not (isinstance(root, (Record, list, tuple, dict)) or _is_tensor(root)):
            raise UserError(f"the file holds a {type(root).__name__.lower()}, a dictionary of tensors is expected")
        self._ways = {} if self._nameless else dict(sorted(_state_dictionaries(root), key=lambda found: len(found[1])))
        self.dictionaries = ("", *self._ways) if self._nameless or _holds_tensors(root) else tuple(self._ways)

    def at(self, path: str | None) -> tuple[LazyTensors, FileInfo]:
        """Return the tensors of the dictionary at `path`, by default of the best one, still to be read.

        Raises UserError when there is none, or a choice; UnsafeWeightsError when together they would be many times
        larger than the file.
        """
        with self._source.naming_errors():
            if self._nameless:
                script = isinstance(self._root, Record)
                named = _script_tensors(self._root) if script else numbered(self._root, _is_tensor)
                tensors, info = self._arrays(named), FileInfo(self._format)
            else:
                tensors, info = self._in_dictionary(self._best() if path is None else path)
            if not tensors:
                where = repr(info.container) if info.container else "the file"
                raise UserError(f"no tensors in {where}; a state dictionary (name -> tensor) is expected")
            _check_size([*tensors.entries.values(), *info.extras.entries.values()], self._source.size)
            return tensors, info

    def _best(self) -> str:
        """Return the path of the dictionary that programs keep the network in, or of the only one."""
        top = [path for path, way in self._ways.items() if len(way) == 1]
        candidates = top or [path for path in self._ways if path.rpartition(".")[0] not in self._ways]
        known = next((key for key in CONTAINERS if key in top), None)
        if known is None and (_holds_tensors(self._root) or not candidates):
            return ""
        if known is None and len(candidates) > 1:
            raise UserError(f"which of its parts is the network? There are {listed(candidates)}; {NAME_PLACE}")
        key = known or candidates[0]
        # The network may lie further in, with a tensor or two beside it.
        return next((inner for name in CONTAINERS if (inner := f"{key}.{name}") in self._ways), key)

    def _in_dictionary(self, path: str) -> tuple[LazyTensors, FileInfo]:
        state, beside = self._root, {}
        for part, key in self._ways[path] if path else ():      # of equal names beside the way the innermost counts
            state = part[key]
            beside |= {name: value for name, value in part.items() if name != key}
        # What is nested in the network itself is told as extra; beside it, or in a bare dictionary, lie optimisers.
        nested = list(_nested_tensors(state)) if path else []
        tensors = self._arrays(chain(_plain_tensors(state), ((name, tensor) for _, name, tensor in nested)))
        within = {name for name, *_ in nested}
        rest = [shown(str(name)) for part in (state, beside) for name, value in part.items()
                if not _is_tensor(value) and not (part is state and name in within)]
        values = dict(state.plain) if isinstance(state, FlatNetwork) else _options({**self._root, **beside})
        extras = self._arrays(_plain_tensors(beside))
        return tensors, FileInfo(self._format, {}, path, extras, tuple(rest), values)

    def _arrays(self, named: Iterable[tuple[str, Any]]) -> LazyTensors:
        arrays: dict[str, LazyArray] = {}
        for name, value in named:
            if name in arrays:
                refuse(f"two tensors of the name {shown(name)}")
            lazy = self._reader.lazy(value) if isinstance(value, TensorRef) else value.lazy
            arrays[name] = lazy or refuse("a NumPy array that was never filled")
        return LazyTensors(arrays, self._source.name)


def _check_size(entries: list[LazyArray], file_size: int) -> None:
    """Refuse tensors that together are many times larger than the file (views that repeat a storage)."""
    if sum(entry.nbytes for entry in entries) > 8 * file_size + _SPARE:
        refuse("the tensors would take many times the size of the file")
    if sum(entry.copies for entry in {id(entry): entry for entry in entries}.values()) > 2 * file_size + _SPARE:
        refuse("the tensors would take many times the size of the file, overlapping one another")


def _options(root: Mapping[Any, Any]) -> dict[str, str | int | float | bool]:
    """Return the short texts and numbers among the training options that a program left in its checkpoint."""
    holders = [*(root.get(name) for name in _OPTIONS), {"name": root.get("name")}]
    entries = [holder.attributes if isinstance(holder, Record) else holder for holder in holders]
    found = (entry for holder in entries if isinstance(holder, dict) for entry in list(holder.items())[:_MAX_OPTIONS])
    return {name: value for name, value in found if isinstance(name, str) and (
        isinstance(value, (bool, float)) or isinstance(value, int) and abs(value) < 2**63
        or isinstance(value, str) and len(value) <= _MAX_TEXT)}


_Way = tuple[tuple[Mapping[Any, Any], str], ...]    # the dictionaries on the way down, each with the key taken there


def _state_dictionaries(root: Mapping[Any, Any]) -> Iterator[tuple[str, _Way]]:
    """Yield the dotted path of, and the way to, every dictionary with tensors.

    Bounded in steps and memory, for a hostile file may hold the same dictionary many times.
    """
    waiting: list[tuple[str, Mapping[Any, Any], _Way]] = [("", root, ())]
    visited, holds = 0, {}
    for prefix, part, way in waiting:       # which grows meanwhile
        for key, value in part.items():
            visited += 1
            if visited > _MAX_VISITED and prefix:
                return
            if not isinstance(key, str) or not isinstance(value, dict):
                continue
            further = (*way, (part, key))
            if id(value) not in holds:
                holds[id(value)] = _holds_tensors(value)
            if holds[id(value)]:
                yield f"{prefix}{key}", further
            if len(further) <= _MAX_NESTED and not isinstance(value, FlatNetwork):
                waiting.append((f"{prefix}{key}.", value, further))


def listed(names: list[str]) -> str:
    """Return the first of untrusted names for a message."""
    return ", ".join(repr(shown(name, 40)) for name in names[:8]) + (", ..." if len(names) > 8 else "") or "none"


def _is_tensor(value: Any) -> bool:
    return isinstance(value, (TensorRef, ArrayStub))


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, dict) and any(map(_is_tensor, value.values()))


def _lists_tensors(root: Any) -> bool:
    """Tell whether `root` is a dictionary of nothing but lists, with tensors among their items."""
    return isinstance(root, dict) and all(isinstance(value, (list, tuple)) for value in root.values()) \
        and any(True for _ in numbered(root, _is_tensor))


def _plain_tensors(state: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the tensors of a dictionary; a key that is no text is written as one."""
    for name, value in state.items():
        if _is_tensor(value):
            yield _text(name), value


def _nested_tensors(state: Mapping[Any, Any]) -> Iterator[tuple[Any, str, Any]]:
    """Yield (key, dotted name, tensor) of what the lists and dictionaries in a state dictionary hold."""
    nested = [(key, value) for key, value in state.items() if isinstance(value, (dict, list, tuple))]
    for path, tensor in numbered([value for _, value in nested], _is_tensor):
        index, _, inner = path.partition(".")
        key = nested[int(index)][0]
        yield key, ".".join(filter(None, (_text(key), inner))), tensor


def _text(key: Any) -> str:
    return key if isinstance(key, str) else described(key)


def _script_tensors(root: Record) -> Iterator[tuple[str, Any]]:
    """Yield the tensors of a TorchScript object tree under their dotted names; bounded, for objects may be shared."""
    def attributes(record: Record, prefix: str) -> Iterator[tuple[str, Any]]:
        return ((f"{prefix}{name}", value) for name, value in record.attributes.items())

    for visited, (name, value) in enumerate(walk(root, attributes, "."), 1):
        if visited > _MAX_TENSORS:
            refuse("a TorchScript object that is nested without end")
        if _is_tensor(value):
            yield name, value

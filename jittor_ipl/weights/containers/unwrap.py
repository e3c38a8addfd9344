"""Find the network's tensors in what a checkpoint holds: bare, under a well-known key, or as a TorchScript object."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from jittor_ipl.errors import UserError, nearest
from jittor_ipl.weights.containers.lazy import LazyArray
from jittor_ipl.weights.containers.limits import described, refuse, shown
from jittor_ipl.weights.containers.nested import numbered
from jittor_ipl.weights.containers.pickle.numpy_rules import ArrayStub
from jittor_ipl.weights.containers.pickle.nvidia_rules import Network
from jittor_ipl.weights.containers.pickle.objects import Record
from jittor_ipl.weights.containers.pickle.torch_rules import TensorRef
from jittor_ipl.weights.containers.torch_file import Contents

# Where known programs put the network, best first: rosinality/IPL/NADA, the IPL mapper, Lightning and many others;
# NVIDIA's averaged generators (PyTorch, TensorFlow) and PaddleGAN's.
CONTAINERS = ("g_ema", "m", "state_dict", "params_ema", "model", "G_ema", "Gs", "gen_ema")
_MAX_TENSORS, _MAX_DEPTH = 100_000, 64
_MAX_VISITED, _MAX_NESTED = 10_000, 3
_SPARE = 4 << 20
_MODULE_HINT = ("a whole pickled model, whose code would have to be run; in the program that wrote it, save "
                "model.state_dict() instead")
_OPTIONS, _MAX_OPTIONS, _MAX_TEXT = ("opts", "args", "config"), 500, 200


@dataclass(frozen=True)
class Found:
    """The chosen tensors, the key they lay under, tensors beside that key, the names of everything else, and options."""

    tensors: dict[str, LazyArray]
    container: str
    extras: dict[str, LazyArray]
    skipped: tuple[str, ...]
    values: dict[str, str | int | float | bool] = field(default_factory=dict)


def unwrap(contents: Contents, container: str | None = None) -> Found:
    """Return the tensors of `contents`, still to be read.

    Raises UserError when there is none, or no `container` of that name, and says which there are; UnsafeWeightsError
    when together they would be many times larger than the file.
    """
    found = _unwrap(contents, container)
    bounded([*found.tensors.values(), *found.extras.values()], contents.size)
    return found


def bounded(entries: Iterable[LazyArray], file_size: int, packed: bool = False) -> None:
    """Refuse tensors that together are many times larger than the file (views that repeat a storage).

    `packed` files, whose members may be compressed, have their own bound.
    """
    distinct = {id(entry): entry for entry in entries}.values()
    if not packed and sum(entry.nbytes for entry in entries) > 8 * file_size + _SPARE:
        refuse("the tensors would take many times the size of the file")
    if not packed and sum(entry.copies for entry in distinct) > 2 * file_size + _SPARE:
        refuse("the tensors would take many times the size of the file, overlapping one another")


def _unwrap(contents: Contents, container: str | None) -> Found:
    root = _as_dictionary(contents.root)
    if isinstance(root, Record) and contents.format != "torchscript":
        raise UserError(f"the file holds {_MODULE_HINT}")
    if isinstance(root, Record):
        require_no_container(container)
        return Found(_some(_arrays(contents, _script_tensors(root)), "the TorchScript object"), "", {}, ())
    if _is_tensor(root) or isinstance(root, (list, tuple)) or _lists_tensors(root):     # latents, styles, directions
        require_no_container(container)
        return Found(_some(_arrays(contents, numbered(root, _is_tensor)), "the file"), "", {}, ())
    if not isinstance(root, dict):
        raise UserError(f"the file holds a {type(root).__name__.lower()}, a dictionary of tensors is expected")
    key, state, beside = _choose(root, container)
    # What is nested in the network itself is told as extra; beside it, or in a bare state dictionary, lie optimisers.
    nested = list(_nested_tensors(state)) if key else []
    tensors = _arrays(contents, chain(_plain_tensors(state), ((name, tensor) for _, name, tensor in nested)))
    listed = {name for name, *_ in nested}
    rest = [shown(str(name)) for part in (state, beside) for name, value in part.items()
            if not _is_tensor(value) and not (part is state and name in listed)]
    return Found(_some(tensors, f"{key!r}" if key else "the file"), key, _arrays(contents, _plain_tensors(beside)), tuple(rest),
                 _values(state, {**root, **beside}))


def require_no_container(container: str | None) -> None:
    """Raise UserError when a container is asked for in a file that can have none."""
    if container is not None:
        raise UserError(f"no tensors under {container!r}: they lie at the top of this file, which has no containers; "
                        "leave --container out")


def _as_dictionary(root: Any) -> Any:
    """Return a list of state dictionaries as a dictionary of them, "0", "1", ...; anything else as it is."""
    listed = isinstance(root, (list, tuple)) and root and all(_holds_tensors(part) for part in root)
    return {str(index): part for index, part in enumerate(root)} if listed else root


def _values(state: Any, root: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the plain values of a pickled network, or the training options beside a state dictionary."""
    return dict(state.plain) if isinstance(state, Network) else _options(root)


def _options(root: Mapping[Any, Any]) -> dict[str, str | int | float | bool]:
    """Return the short texts and numbers among the training options that a program left in its checkpoint."""
    holders = [*(root.get(name) for name in _OPTIONS), {"name": root.get("name")}]
    entries = [holder.attributes if isinstance(holder, Record) else holder for holder in holders]
    found = ((name, value) for holder in entries if isinstance(holder, dict) for name, value in list(holder.items())[:_MAX_OPTIONS])
    return {name: value for name, value in found if isinstance(name, str) and (
        isinstance(value, (bool, float)) or isinstance(value, int) and abs(value) < 2**63
        or isinstance(value, str) and len(value) <= _MAX_TEXT)}


def _choose(root: Mapping[Any, Any], wanted: str | None) -> tuple[str, Mapping[Any, Any], dict[Any, Any]]:
    """Return the key of the state dictionary to take ("" for the root itself, "model.g_ema" for one further in), it, and
    what lies beside it and beside the dictionaries around it."""
    every = dict(sorted(_state_dictionaries(root), key=lambda found: len(found[1])))
    top = [key for key, way in every.items() if len(way) == 1]
    if wanted is not None:
        if wanted not in every:
            raise UserError(f"no tensors under {wanted!r}{nearest(wanted, every)}; " + (
                f"there are {_listed(list(every))}" if every else "the file has no containers; leave --container out"))
        return wanted, *_followed(every[wanted])
    candidates = top or [path for path in every if path.rpartition(".")[0] not in every]
    known = next((key for key in CONTAINERS if key in top), None)
    if known is None and (_holds_tensors(root) or not candidates):
        return "", root, {}
    if known is None and len(candidates) > 1:
        raise UserError(f"which of its parts is the network? There are {_listed(candidates)}; choose one with --container")
    key = known or candidates[0]
    key = next((inner for name in CONTAINERS if (inner := f"{key}.{name}") in every), key)      # and a tensor or two beside it
    return key, *_followed(every[key])


_Way = tuple[tuple[Mapping[Any, Any], str], ...]      # the dictionaries on the way down, each with the key taken there


def _state_dictionaries(root: Mapping[Any, Any]) -> Iterator[tuple[str, _Way]]:
    """Yield the dotted path of, and the way to, every dictionary with tensors.

    Bounded in steps and memory, for a hostile file may hold the same dictionary many times.
    """
    waiting: list[tuple[str, Mapping[Any, Any], _Way]] = [("", root, ())]
    holds: dict[int, bool] = {}
    for visited, (prefix, part, way, key, value) in enumerate(_children(waiting)):
        if visited > _MAX_VISITED and prefix:
            return
        if not isinstance(key, str) or not isinstance(value, dict):
            continue
        further = (*way, (part, key))
        if id(value) not in holds:
            holds[id(value)] = _holds_tensors(value)
        if holds[id(value)]:
            yield f"{prefix}{key}", further
        if len(further) <= _MAX_NESTED and not isinstance(value, Network):
            waiting.append((f"{prefix}{key}.", value, further))


def _children(waiting: list[tuple[str, Mapping[Any, Any], _Way]]) -> Iterator[tuple[str, Mapping[Any, Any], _Way, Any, Any]]:
    """Yield every entry of the dictionaries in `waiting`, which may grow meanwhile."""
    for prefix, part, way in waiting:
        yield from ((prefix, part, way, key, value) for key, value in part.items())


def _followed(way: _Way) -> tuple[Mapping[Any, Any], dict[Any, Any]]:
    """Return the dictionary at the end of a way, and what lies beside the way (of equal names the innermost)."""
    beside = {name: value for part, key in way for name, value in part.items() if name != key}
    part, key = way[-1]
    return part[key], beside


def _listed(names: list[str]) -> str:
    return ", ".join(repr(shown(name, 40)) for name in names[:8]) + (", ..." if len(names) > 8 else "") or "none"


def _some(tensors: dict[str, LazyArray], where: str) -> dict[str, LazyArray]:
    if not tensors:
        raise UserError(f"no tensors in {where}; a state dictionary (name -> tensor) is expected")
    return tensors


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
    waiting, visited = [("", root, 0)], 0
    while waiting:
        prefix, record, depth = waiting.pop()
        children = []
        for name, value in record.attributes.items():
            visited += 1
            if visited > _MAX_TENSORS or depth > _MAX_DEPTH:
                refuse("a TorchScript object that is nested without end")
            if _is_tensor(value):
                yield f"{prefix}{name}", value
            elif isinstance(value, Record):
                children.append((f"{prefix}{name}.", value, depth + 1))
        waiting += reversed(children)


def _arrays(contents: Contents, named: Iterable[tuple[str, Any]]) -> dict[str, LazyArray]:
    arrays: dict[str, LazyArray] = {}
    for name, value in named:
        if name in arrays:
            refuse(f"two tensors of the name {shown(name)}")
        arrays[name] = _array(contents, value)
    return arrays


def _array(contents: Contents, value: Any) -> LazyArray:
    if isinstance(value, TensorRef):
        return contents.lazy(value)
    return value.lazy if value.lazy is not None else refuse("a NumPy array that was never filled")

"""Find the network's tensors in what a checkpoint holds: bare, under a well-known key, or as a TorchScript object."""
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jittor_ipl.errors import UserError, nearest

from .lazy import LazyArray
from .limits import refuse, shown
from .nested import numbered
from .numpy_rules import ArrayStub
from .nvidia_rules import Network
from .pickle_objects import Record
from .torch_file import Contents
from .torch_rules import TensorRef

# Where known programs put the network, best first: rosinality/IPL/NADA, the IPL mapper, Lightning and many others;
# NVIDIA's averaged generators (PyTorch, TensorFlow) and PaddleGAN's.
CONTAINERS = ("g_ema", "m", "state_dict", "params_ema", "model", "G_ema", "Gs", "gen_ema")
_MAX_TENSORS, _MAX_DEPTH = 100_000, 64
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
    root = contents.root
    if isinstance(root, Record) and contents.format != "torchscript":
        raise UserError(f"the file holds {_MODULE_HINT}")
    if isinstance(root, Record):
        tensors = {name: _array(contents, value) for name, value in _script_tensors(root)}
        return Found(_some(tensors, "the TorchScript object"), "", {}, ())
    if _is_tensor(root) or isinstance(root, (list, tuple)) or _lists_tensors(root):     # latents, styles, directions
        tensors = {name: _array(contents, value) for name, value in numbered(root, _is_tensor)}
        return Found(_some(tensors, "the file"), "", {}, ())
    if not isinstance(root, dict):
        raise UserError(f"the file holds a {type(root).__name__.lower()}, a dictionary of tensors is expected")
    key = _choose(root, container)
    state = root[key] if key else root
    beside = {name: value for name, value in root.items() if key and name != key}
    tensors = {name: _array(contents, value) for name, value in _plain_tensors(state)}
    extras = {name: _array(contents, value) for name, value in _plain_tensors(beside)}
    rest = [shown(str(name)) for part in (state, beside) for name, value in part.items() if not _is_tensor(value)]
    return Found(_some(tensors, f"{key!r}" if key else "the file"), key, extras, tuple(rest), _values(state, root))


def _values(state: Any, root: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the plain values of a pickled network, or the training options beside a state dictionary."""
    return dict(state.plain) if isinstance(state, Network) else _options(root)


def _options(root: Mapping[Any, Any]) -> dict[str, str | int | float | bool]:
    """Return the short texts and numbers among the training options that a program left in its checkpoint."""
    holders = [root.get(name) for name in _OPTIONS]
    entries = [holder.attributes if isinstance(holder, Record) else holder for holder in holders]
    found = ((name, value) for holder in entries if isinstance(holder, dict) for name, value in list(holder.items())[:_MAX_OPTIONS])
    return {name: value for name, value in found if isinstance(name, str) and (
        isinstance(value, (bool, float)) or isinstance(value, int) and abs(value) < 2**63
        or isinstance(value, str) and len(value) <= _MAX_TEXT)}


def _choose(root: Mapping[Any, Any], wanted: str | None) -> str:
    """Return the key of the state dictionary to take, "" for the root itself."""
    holders = [key for key, value in root.items() if isinstance(key, str) and _holds_tensors(value)]
    if wanted is not None:
        if wanted not in holders:
            raise UserError(f"no tensors under {wanted!r}{nearest(wanted, holders)}; there are {_listed(holders)}")
        return wanted
    for key in CONTAINERS:
        if key in holders:
            return key
    if _holds_tensors(root) or not holders:
        return ""
    raise UserError(f"which of its parts is the network? There are {_listed(holders)}")


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
    for name, value in state.items():
        if isinstance(name, str) and _is_tensor(value):
            yield name, value


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


def _array(contents: Contents, value: Any) -> LazyArray:
    if isinstance(value, TensorRef):
        return contents.lazy(value)
    return value.lazy if value.lazy is not None else refuse("a NumPy array that was never filled")

"""Names for tensors: of objects inside objects, and of tensors alone or in lists inside lists or a dictionary."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from jittor_ipl.weights.containers.limits import refuse

BARE = "tensor"                 # the name of a file's only tensor
MAX_ITEMS, MAX_DEPTH = 100_000, 4
_MAX_OBJECTS = 64               # inside one another
Named = Iterator[tuple[str, Any]]


def walk(root: Any, names: Callable[[Any, str], Named], separator: str) -> Named:
    """Yield `names(part, prefix)` of an object and, below it, of every child of its class; `...` stands for the child.

    Raises UnsafeWeightsError for objects inside one another without end.
    """
    waiting = [("", root)]
    while waiting:
        prefix, part = waiting.pop()
        if prefix.count(separator) > _MAX_OBJECTS:
            refuse("a network that is nested without end")
        children = []
        for name, value in names(part, prefix):
            if isinstance(value, type(root)):
                children.append((f"{name}{separator}", value))
                value = ...
            yield name, value
        waiting += reversed(children)


def numbered(root: Any, is_tensor: Callable[[Any], bool]) -> Named:
    """Yield (name, tensor) of a tensor ("tensor") or of nested lists and dictionaries ("0", "1.25", "mean.3").

    Numbers and texts between the tensors are passed over; a key may be a number. A pair of a text and a tensor is the
    tensor alone: that is how Paddle writes one. What lies deeper than four levels, or beyond 100,000 items, is left
    out: a hostile file may hold the same list many times.
    """
    stack: list[Named] = [iter([("", root)])]
    for _ in range(MAX_ITEMS):
        if not stack:
            return
        name, value = next(stack[-1], ("", stack))
        if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and is_tensor(value[1]):
            value = value[1]
        if value is stack:
            stack.pop()
        elif is_tensor(value):
            yield name or BARE, value
        elif len(stack) <= MAX_DEPTH:
            stack.append(_children(f"{name}." if name else "", value))


def _children(prefix: str, value: Any) -> Named:
    if isinstance(value, dict):
        yield from ((f"{prefix}{key}", child) for key, child in value.items() if isinstance(key, (str, int)))
    elif isinstance(value, (list, tuple)):
        yield from ((f"{prefix}{index}", child) for index, child in enumerate(value))

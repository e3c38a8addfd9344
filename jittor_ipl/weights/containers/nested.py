"""Names for tensors that have none: a file may be one tensor, or lists of tensors inside lists or a dictionary."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

BARE = "tensor"                 # the name of a file's only tensor
MAX_ITEMS, MAX_DEPTH = 100_000, 4


def numbered(root: Any, is_tensor: Callable[[Any], bool]) -> Iterator[tuple[str, Any]]:
    """Yield (name, tensor) of a tensor ("tensor") or of nested lists and dictionaries ("0", "1.25", "mean.3").

    Numbers and texts between the tensors are passed over; a key may be a number. A pair of a text and a tensor is the
    tensor alone: that is how Paddle writes one. What lies deeper than four levels, or beyond 100,000 items, is left
    out: a hostile file may hold the same list many times.
    """
    stack: list[Iterator[tuple[str, Any]]] = [iter([("", root)])]
    for _ in range(MAX_ITEMS):
        if not stack:
            return
        name, value = next(stack[-1], ("", stack))
        value = _without_name(value, is_tensor)
        if value is stack:
            stack.pop()
        elif is_tensor(value):
            yield name or BARE, value
        elif len(stack) <= MAX_DEPTH:
            stack.append(_children(f"{name}." if name else "", value))


def _without_name(value: Any, is_tensor: Callable[[Any], bool]) -> Any:
    named = isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and is_tensor(value[1])
    return value[1] if named else value


def _children(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from ((f"{prefix}{key}", child) for key, child in value.items() if isinstance(key, (str, int)))
    elif isinstance(value, (list, tuple)):
        yield from ((f"{prefix}{index}", child) for index, child in enumerate(value))

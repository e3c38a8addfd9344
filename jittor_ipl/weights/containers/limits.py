"""What reading an untrusted file may cost, and the one error for a file that is malformed, hostile or too greedy."""
from __future__ import annotations

from typing import Any, NoReturn

from jittor_ipl.errors import UserError

MEMORY_FLOOR = 8 << 20          # bytes of objects that even the smallest file may take


class UnsafeWeightsError(UserError):
    """A file that is malformed, or whose pickle asks for something outside the allow-list.

    `offending` holds the refused globals as "module.name", in the order of their first use; empty for other faults.
    """

    def __init__(self, message: str, offending: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.offending = offending


def refuse(problem: str) -> NoReturn:
    """Raise UnsafeWeightsError; reads better than `raise` inside a table or an expression."""
    raise UnsafeWeightsError(problem)


def shown(text: str, limit: int = 80) -> str:
    """Return untrusted text made safe for a one-line message."""
    return ascii(text[:limit])[1:-1] + ("..." if len(text) > limit else "")


def described(value: Any) -> str:
    """Return an untrusted value in a few safe characters: short scalars themselves, anything else by its type."""
    if isinstance(value, str):
        return f"'{shown(value, 40)}'"
    if value is None or (isinstance(value, (bool, float)) or (isinstance(value, int) and abs(value) < 2**64)):
        return repr(value)
    return f"a {type(value).__name__}"


class Meter:
    """Bytes of memory that the objects read from one file may still take.

    Nothing is given back when an object is dropped, so the meter bounds the time as well. The limit is the file's own
    size: the file (once), its objects (once) and its tensors (once) stay below three times the file.
    """

    def __init__(self, file_size: int) -> None:
        self.left = max(MEMORY_FLOOR, file_size)

    def spend(self, count: int) -> None:
        """Pay for `count` bytes; raises UnsafeWeightsError when too few are left."""
        self.left -= count
        if self.left < 0:
            refuse("reading it would take several times the memory of the file")

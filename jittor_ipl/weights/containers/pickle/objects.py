"""The inert things that a pickle may be made of here, and the rules that decide which names may make them.

How to admit a further global (this is the whole extension mechanism):

1. A *rule table* is a dictionary `{(module, name): Rule}`, as `RULES` in `rules.py`. `look_up(table, ..., table)` asks
   tables in that order; a name that none knows is refused. `plain.py` lists those of plain pickles, `torch_rules.py`
   those of PyTorch's files. Python 2's `__builtin__` and `copy_reg` are asked for under their present names.
2. `Rule(call=f)` lets the pickle REDUCE: our `f(*arguments)` runs, its result goes on the pickle's stack; `Rule(new=f)`
   does the same for NEWOBJ, `Rule()` admits the name as a value. The arguments may be hostile: of any type, any number,
   nested in themselves. Check with `isinstance` and `refuse(...)`; never recurse, compare, hash or print before that.
   With `context=True` it is called as `f(context, *arguments)` and may read further (see `Context`).
3. An object of a class whose state matters becomes a `Record`, by the rule RECORD: BUILD fills its `attributes`,
   SETITEMS its `items`, APPENDS its `entries`: a tree, or in a hostile file a graph with cycles, which is walked with a
   bound.
4. A PyTorch stream nested in a pickle (`torch.storage._load_from_bytes(bytes)`) is read by
   `torch_file.read_nested_stream`; `Context.deeper` bounds the nesting, the outer meter the memory.
"""
from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from jittor_ipl.weights.containers.limits import Meter, refuse, shown

LONG = 1 << 12                  # texts and bytes beyond this stay in the file until they are needed
_PIECE = 1 << 20
_MAX_NESTING = 3
_MAX_KEY = 1 << 60              # larger integers can be chosen to share one hash


@dataclass(frozen=True, slots=True)
class Rule:
    """What an allowed global may do: `call` for REDUCE, `new` for NEWOBJ; None forbids it. See the module's text."""

    call: Callable[..., Any] | None = None
    new: Callable[..., Any] | None = None
    context: bool = False


RuleTable = Mapping[tuple[str, str], Rule]
FindRule = Callable[[str, str], "Rule | None"]
_RENAMED = {"__builtin__": "builtins", "copy_reg": "copyreg"}    # Python 2 -> 3


def look_up(*tables: RuleTable) -> FindRule:
    """Return a function (module, name) -> Rule of the first table that knows the name, or None."""
    def find(module: str, name: str) -> Rule | None:
        key = _RENAMED.get(module, module), name
        return next((table[key] for table in tables if key in table), None)
    return find


@dataclass(frozen=True)
class Context:
    """What a rule with `context=True` may use: the rules in force, the meter to pay from, and how deep it is nested."""

    find: FindRule
    meter: Meter
    depth: int = 0

    def deeper(self) -> "Context":
        """Return the context of a pickle inside this one; raises UnsafeWeightsError beyond a few levels."""
        if self.depth == _MAX_NESTING:
            refuse("pickles nested in pickles without end")
        return replace(self, depth=self.depth + 1)


@dataclass(frozen=True, slots=True)
class Global:
    """A named thing in a pickle; holds our rule for it, never the thing itself."""

    module: str
    name: str
    rule: Rule

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")


class Buildable:
    """Base of our stand-ins that accept a pickle's BUILD."""

    __slots__ = ()

    def build(self, state: Any) -> None:
        """Take over `state`; raises UnsafeWeightsError when it is not of the expected form."""
        refuse(f"a {type(self).__name__} takes no state")


class Record(Buildable):
    """An inert stand-in for an object of a known class; what it was made from is dropped.

    `attributes` holds what BUILD sets, `items` and `entries` what a subclass of dict or list was filled with.
    """

    __slots__ = ("attributes", "items", "entries")

    def __init__(self, *_: Any) -> None:
        self.attributes: dict[str, Any] = {}
        self.items: dict[Any, Any] = {}
        self.entries: list[Any] = []

    def build(self, state: Any) -> None:
        """Take a dictionary of attributes, or the pair (dictionary or None, dictionary of slots or None)."""
        for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
            if part is None:
                continue
            if not isinstance(part, dict) or not all(isinstance(key, str) for key in part):
                refuse("an object's state is not a dictionary of attributes")
            self.attributes.update(part)


RECORD = Rule(call=Record, new=Record)


class OrderedDictStub(dict, Buildable):
    """Stands in for `collections.OrderedDict`; PyTorch hangs `_metadata` on it, which is dropped."""

    __slots__ = ()

    def build(self, state: Any) -> None:
        """Ignore the attributes."""


@dataclass(frozen=True, eq=False, slots=True)
class LongText:
    """Text longer than `LONG`, still in the file's bytes: `coding` is utf-8, latin-1 or raw-unicode-escape."""

    view: memoryview
    coding: str

    def __len__(self) -> int:
        return len(self.view)

    def narrow(self) -> "memoryview | bytearray":
        """Return its letters as bytes (protocols 0 to 2 write bytes as latin-1 text), decoding a piece at a time."""
        if self.coding == "latin-1":
            return self.view
        result, position = bytearray(), 0
        while position < len(self.view):
            piece = bytes(self.view[position:position + _PIECE])
            cut = self._whole_letters(piece) if position + _PIECE < len(self.view) else len(piece)
            result += latin(decoded(piece[:cut], self.coding))
            position += cut
        return result

    def _whole_letters(self, piece: bytes) -> int:
        """Return how much of `piece` ends with a whole letter."""
        if self.coding == "utf-8":
            return len(piece) - (piece[-1] >= 0xC0)         # latin-1 letters take at most two bytes
        start = piece.rfind(b"\\", len(piece) - 12)         # an escape takes up to ten letters
        return start if start > 0 else len(piece)


def latin(text: str) -> bytes:
    """Return a text of latin-1 letters as bytes; raises UnsafeWeightsError for any other letter."""
    try:
        return text.encode("latin-1")
    except UnicodeError:
        return refuse("bytes written as a text that is not latin-1")


def decoded(view: memoryview | bytes, coding: str) -> str:
    """Return the text in `view`; raises UnsafeWeightsError for bytes that are none, or that cannot be written again."""
    try:
        text = str(view, coding)
        if coding == "raw-unicode-escape":
            text.encode("utf-8")    # escapes can name lone surrogates
        return text
    except UnicodeError:
        return refuse("a text that is not valid Unicode")


def scalar(value: Any) -> Hashable:
    """Return `value` when it may be a dictionary key or set member; raises UnsafeWeightsError otherwise.

    Hashing nested shared tuples takes exponential time, and large integers can be chosen to collide.
    """
    if isinstance(value, int) and not -_MAX_KEY < value < _MAX_KEY:
        refuse("an integer of more than 60 bits as a dictionary key")
    if not isinstance(value, (str, bytes, int, float, type(None))):
        refuse(f"a {type(value).__name__} as a dictionary key")
    return value

"""The state of a pickle machine that can only build data, and the steps that opcodes take on it.

Every step pays for what it creates from a meter proportional to the file's size; long texts and bytes stay slices of
the input; memo slots live in a dictionary; dictionary keys are scalars. Nothing recurses.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jittor_ipl.weights.containers.limits import UnsafeWeightsError, refuse
from jittor_ipl.weights.containers.pickle.objects import (
    LONG,
    RECORD,
    Buildable,
    Context,
    Global,
    LongText,
    Record,
    decoded,
    scalar,
)

_OBJECT, _ENTRY, _CALL = 64, 120, 400   # bytes that an object, a table entry, a call cost at most
_GLOBAL = 1600                          # what a name and its rule cost
_MAX_LINE, _MAX_WINDOW = 4096, 1 << 20
_MAX_REFUSED = 1000                     # names to find before the reading ends


class CutShort(UnsafeWeightsError):
    """The pickle goes on where the data end."""


class Machine:
    """The state of one run: the input, the stack, the outer stacks kept by MARK, and the memo."""

    def __init__(self, data: memoryview, start: int, context: Context, persistent: Callable[[Any], Any] | None) -> None:
        self.data, self.position, self.context, self.persistent = data, start, context, persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.globals: dict[tuple[str, str], Global] = {}
        self.refused: dict[str, None] = {}
        self.pay = context.meter.spend

    # Input -----------------------------------------------------------------------------------------------------------
    def take(self, count: int) -> memoryview:
        end = self.position + count
        if end > len(self.data):
            raise CutShort("the pickle is cut short")
        piece = self.data[self.position:end]
        self.position = end
        return piece

    def number(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def line(self) -> memoryview:
        """Take the bytes up to a newline, looking for it in growing windows."""
        at, reach = self.position, 128
        while at < len(self.data):
            found = bytes(self.data[at:at + reach]).find(b"\n")
            if found >= 0:
                piece = self.take(at + found - self.position)
                self.position += 1
                return piece
            at, reach = at + reach, min(2 * reach, _MAX_WINDOW)
        raise CutShort("a text argument does not end")

    def word(self) -> str:
        """Take a short line: a number or a name."""
        piece = self.line()
        return str(piece, "utf-8") if len(piece) <= _MAX_LINE else refuse("a name or number of thousands of letters")

    # Values ----------------------------------------------------------------------------------------------------------
    def push(self, value: Any, cost: int = 0) -> None:
        self.pay(cost)
        self.stack.append(value)

    def push_text(self, view: memoryview, coding: str = "utf-8") -> None:
        """Push text; of long ones only where it lies."""
        if len(view) > LONG:
            self.push(LongText(view, coding), _OBJECT)
        else:
            text = decoded(view, coding)
            self.push(text, text.__sizeof__())

    def push_bytes(self, view: memoryview) -> None:
        """Push bytes; long ones as a view of the input."""
        if len(view) > LONG:
            self.push(view.toreadonly(), 3 * _OBJECT)
        else:
            self.push(bytes(view), _OBJECT + len(view))

    def push_tuple(self, items: list[Any] | tuple) -> None:
        self.push(tuple(items), _OBJECT + 8 * len(items))

    # Stack -----------------------------------------------------------------------------------------------------------
    def mark(self) -> None:
        self.pay(_OBJECT)
        self.marks.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def pop_many(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            refuse("the stack holds too little")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def remember(self, slot: int) -> None:
        # A slot costs an operation each, so a larger number is only there to make a reader allocate.
        if not 0 <= slot <= len(self.data):
            refuse(f"memo slot {slot} in a pickle of {len(self.data)} bytes")
        self.pay(_ENTRY + 32)
        self.memo[slot] = self.stack[-1]

    def recall(self, slot: int) -> None:
        if slot not in self.memo:
            refuse(f"memo slot {slot} was never written")
        self.push(self.memo[slot])

    # Objects ---------------------------------------------------------------------------------------------------------
    def resolve(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            refuse("a global whose name is not text")
        key = module, name
        if key not in self.globals:
            self.pay(_GLOBAL + 4 * (len(module) + len(name)))
            rule = self.context.find(module, name)
            if rule is None:
                self.refused[f"{module}.{name}"] = None
                if len(self.refused) == _MAX_REFUSED:
                    refuse("too many unknown names")
                rule = RECORD
            self.globals[key] = Global(module, name, rule)
        self.push(self.globals[key])

    def apply(self, kind: str) -> None:
        target, arguments = self.pop_many(2)
        if not isinstance(target, Global) or not isinstance(arguments, tuple):
            refuse("the file calls something that is not a known function")
        function = getattr(target.rule, kind)
        if function is None:
            refuse(f"the file may not {'call' if kind == 'call' else 'create'} {target}")
        self.pay(_CALL + sum(map(_weight, arguments)))
        if target.rule.context:
            arguments = (self.context, *arguments)
        self.push(function(*arguments))

    def build(self) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if not isinstance(target, Buildable):
            refuse(f"the file sets the state of a {type(target).__name__}")
        self.pay(_weight(state))
        target.build(state)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        target = target.items if isinstance(target, Record) else target
        if not isinstance(target, dict):
            refuse("a dictionary is filled that is not there")
        if len(items) % 2:
            refuse("a dictionary entry without a value")
        self.pay(_ENTRY * len(items) // 2)
        for key, value in zip(items[::2], items[1::2]):
            target[scalar(key)] = value

    def append_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        target = target.entries if isinstance(target, Record) else target
        if not isinstance(target, list):
            refuse("a list is filled that is not there")
        target.extend(items)

    def add_items(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], set):
            refuse("a set is filled that is not there")
        self.pay(_ENTRY * len(items))
        self.stack[-1].update(map(scalar, items))

    def persist(self, identifier: Any) -> None:
        if self.persistent is None:
            refuse("the file refers to data outside it")
        self.push(self.persistent(identifier), _CALL)


def _weight(value: Any) -> int:
    """Return about how many bytes a copy of `value` takes (texts inside a tuple included, deeper levels are shared)."""
    return _OBJECT * len(value) + sum(map(_length, value)) if isinstance(value, tuple) else _length(value)


def _length(value: Any) -> int:
    if isinstance(value, (str, bytes)):
        return len(value)
    return _ENTRY * len(value) if isinstance(value, (tuple, list, dict, set, frozenset)) else 0

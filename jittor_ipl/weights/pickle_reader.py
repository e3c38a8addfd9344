"""A pickle machine that can only build data: no import, no call, no attribute of anything outside this package.

Python's pickle is a stack language whose GLOBAL and REDUCE name and call arbitrary functions. This interpreter knows
the same opcodes, but a global becomes an inert `Global` carrying a rule of this project (an allow-list, see
`pickle_rules` and `torch_rules`); a name without a rule ends the reading. Nothing falls back to `pickle`.

Bounds: every opcode consumes input and pushes at most one object, their number is limited, strings and bytes are
slices of the input, memo slots live in a dictionary, dictionary keys are scalars (hashing nested shared tuples takes
exponential time), and what our rules copy is charged against the input's size. The machine does not recurse.
"""
from __future__ import annotations

import struct
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from jittor_ipl.errors import UserError

MAX_OPERATIONS = 1_000_000      # a 1024 px generator with its optimiser takes about 50,000
_SPARE_WORK = 64 << 20          # bytes that rules may copy beyond twice the input's size
_MAX_INTEGER_BYTES = 64
_MAX_LINE = 4096                # protocol 0 arguments; long protocol 0 strings do not occur in weight files


class UnsafeWeightsError(UserError):
    """A pickle that is malformed, or that asks for something outside the allow-list (named in the message)."""


@dataclass(frozen=True)
class Rule:
    """What an allowed global may do: `call` for REDUCE, `new` for NEWOBJ; None forbids it."""

    call: Callable[..., Any] | None = None
    new: Callable[..., Any] | None = None


@dataclass(frozen=True)
class Global:
    """A named thing in a pickle; holds our rule for it, never the thing itself."""

    module: str
    name: str
    rule: Rule

    def __str__(self) -> str:
        return shown(f"{self.module}.{self.name}")


class Buildable:
    """Base of our stand-ins that accept a pickle's BUILD."""

    def build(self, state: Any) -> None:
        """Take over `state`; raises UnsafeWeightsError when it is not of the expected form."""
        raise UnsafeWeightsError(f"{type(self).__name__} takes no state")


class Record(Buildable):
    """An object of a class that is known but not needed (`argparse.Namespace`, a TorchScript module): its attributes."""

    __slots__ = ("attributes",)

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def build(self, state: Any) -> None:
        """Take the attribute dictionary; raises UnsafeWeightsError for anything else."""
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise UnsafeWeightsError("an object's state is not a dictionary of attributes")
        self.attributes.update(state)


class OrderedDictStub(dict, Buildable):
    """Stands in for `collections.OrderedDict`; PyTorch hangs `_metadata` on it, which is dropped."""

    def build(self, state: Any) -> None:
        """Ignore the attributes."""


def shown(text: str, limit: int = 80) -> str:
    """Return untrusted text made safe for a one-line message."""
    return ascii(text[:limit])[1:-1] + ("..." if len(text) > limit else "")


FindRule = Callable[[str, str], "Rule | None"]


def read_pickle(data: bytes | memoryview, find: FindRule, persistent: Callable[[Any], Any] | None = None,
                start: int = 0) -> tuple[Any, int]:
    """Interpret one pickle at `data[start:]` and return its object and the position after its STOP.

    `find(module, name)` returns the rule of an allowed global, None for any other; `persistent` resolves persistent
    ids. Raises UnsafeWeightsError, and nothing else, for whatever the bytes hold.
    """
    machine = _Machine(memoryview(data), start, find, persistent)
    try:
        return machine.run(), machine.position
    except UnsafeWeightsError as error:
        raise UnsafeWeightsError(f"{error} (byte {machine.position})") from error
    except (ValueError, TypeError, IndexError, KeyError, struct.error, OverflowError, AttributeError) as error:
        raise UnsafeWeightsError(f"malformed pickle at byte {machine.position}") from error


def refuse(problem: str) -> None:
    """Raise UnsafeWeightsError; reads better than `raise` inside the opcode table."""
    raise UnsafeWeightsError(problem)


class _Machine:
    """The state of one run: the input, the stack, the outer stacks kept by MARK, and the memo."""

    def __init__(self, data: memoryview, start: int, find: FindRule, persistent: Callable[[Any], Any] | None) -> None:
        self.data, self.position, self.find, self.persistent = data, start, find, persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.work_left = 2 * len(data) + _SPARE_WORK

    def run(self) -> Any:
        for _ in range(MAX_OPERATIONS):
            code = self.take(1)[0]
            if code == 0x2E:  # STOP
                if self.marks or len(self.stack) != 1:
                    refuse("the pickle ends with an untidy stack")
                return self.stack[0]
            operation = OPERATIONS.get(code)
            if operation is None:
                refuse(f"opcode 0x{code:02x} is not allowed in a weight file")
            operation(self)
        return refuse(f"more than {MAX_OPERATIONS} operations")

    # Input -----------------------------------------------------------------------------------------------------------
    def take(self, count: int) -> memoryview:
        end = self.position + count
        if end > len(self.data):
            refuse("the pickle is cut short")
        piece = self.data[self.position:end]
        self.position = end
        return piece

    def number(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def line(self) -> str:
        window = bytes(self.data[self.position:self.position + _MAX_LINE])
        end = window.find(b"\n")
        if end < 0:
            refuse("a text argument does not end")
        self.position += end + 1
        return window[:end].decode("utf-8")

    def text(self, size: int) -> str:
        return str(self.take(self.number(size)), "utf-8")

    # Stack -----------------------------------------------------------------------------------------------------------
    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def pop_many(self, count: int) -> tuple:
        if len(self.stack) < count:
            refuse("the stack holds too little")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def remember(self, slot: int) -> None:
        # A slot costs an operation each, so a larger number is only there to make a reader allocate.
        if not 0 <= slot <= len(self.data):
            refuse(f"memo slot {slot} in a pickle of {len(self.data)} bytes")
        self.memo[slot] = self.stack[-1]

    def recall(self, slot: int) -> None:
        if slot not in self.memo:
            refuse(f"memo slot {slot} was never written")
        self.push(self.memo[slot])

    # Objects ---------------------------------------------------------------------------------------------------------
    def resolve(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            refuse("a global whose name is not text")
        rule = self.find(module, name)
        if rule is None:
            refuse(f"the file asks for {shown(f'{module}.{name}')}, which no weight file needs; refused")
        self.push(Global(module, name, rule))

    def apply(self, kind: str) -> None:
        target, arguments = self.pop_many(2)
        if not isinstance(target, Global) or not isinstance(arguments, tuple):
            refuse("the file calls something that is not a known function")
        function = getattr(target.rule, kind)
        if function is None:
            refuse(f"the file may not {'call' if kind == 'call' else 'create'} {target}")
        self.charge(arguments)
        self.push(function(*arguments))

    def build(self) -> None:
        state = self.stack.pop()
        if not isinstance(self.stack[-1], Buildable):
            refuse(f"the file sets the state of a {type(self.stack[-1]).__name__}")
        self.charge((state,))
        self.stack[-1].build(state)

    def charge(self, values: tuple) -> None:
        """Pay for what a rule may copy: without this a large list in the memo could be copied a million times."""
        self.work_left -= sum(map(_weight, values))
        if self.work_left < 0:
            refuse("the pickle copies its contents over and over")

    def set_items(self, items: list[Any]) -> None:
        target = self.container(dict)
        if len(items) % 2:
            refuse("a dictionary entry without a value")
        for key, value in zip(items[::2], items[1::2]):
            target[scalar(key)] = value

    def container(self, kind: type) -> Any:
        if not self.stack or not isinstance(self.stack[-1], kind):
            refuse(f"a {kind.__name__} is filled that is not there")
        return self.stack[-1]

    def persist(self, identifier: Any) -> None:
        if self.persistent is None:
            refuse("the file refers to data outside it")
        self.push(self.persistent(identifier))


def scalar(value: Any) -> Hashable:
    """Return `value` when it may be a dictionary key or set member; raises UnsafeWeightsError otherwise."""
    if not isinstance(value, (str, bytes, int, float, type(None))):
        refuse(f"a {type(value).__name__} as a dictionary key")
    return value


def _weight(value: Any) -> int:
    """Return about how many bytes a copy of `value` takes (texts inside a tuple included, deeper levels are shared)."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, tuple):
        return 64 * len(value) + sum(len(part) for part in value if isinstance(part, (str, bytes)))
    return 64 * len(value) if isinstance(value, (list, dict, set, frozenset)) else 64


def _integer(machine: _Machine, size: int) -> int:
    if size > _MAX_INTEGER_BYTES:
        refuse(f"an integer of {size} bytes")
    return machine.number(size, signed=True)


def _decimal(machine: _Machine) -> None:
    text = machine.line().removesuffix("L")
    if text in ("00", "01"):  # protocol 0's False and True
        return machine.push(text == "01")
    if len(text) > 2 * _MAX_INTEGER_BYTES:
        refuse(f"an integer of {len(text)} digits")
    return machine.push(int(text))


def _quoted(machine: _Machine) -> None:
    text = machine.line()
    if len(text) < 2 or text[0] not in "'\"" or text[-1] != text[0] or "\\" in text:
        refuse("a protocol 0 string with escapes")
    machine.push(text[1:-1])


def _frame(machine: _Machine) -> None:
    if machine.number(8) > len(machine.data) - machine.position:
        refuse("a frame is longer than the file")


def _protocol(machine: _Machine) -> None:
    version = machine.number(1)
    if version > 5:
        refuse(f"pickle protocol {version}")


def _mark(machine: _Machine) -> None:
    machine.marks.append(machine.stack)
    machine.stack = []


def _pop(machine: _Machine) -> None:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_mark()


def _appends(machine: _Machine, items: list[Any]) -> None:
    machine.container(list).extend(items)


def _add_items(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.container(set).update(map(scalar, items))


def _dictionary(machine: _Machine) -> None:
    items = machine.pop_mark()
    machine.push({})
    machine.set_items(items)


def _stack_global(machine: _Machine) -> None:
    machine.resolve(*machine.pop_many(2))


def _new_with_keywords(machine: _Machine) -> None:
    if machine.stack.pop() != {}:
        refuse("an object is created with keyword arguments")
    machine.apply("new")


def _old_style(machine: _Machine) -> None:
    refuse(f"the file makes an object of {shown(f'{machine.line()}.{machine.line()}')}; refused")


# Absent on purpose: EXT1/2/4 (a process-wide registry), OBJ (old-style classes), NEXT_BUFFER and READONLY_BUFFER
# (data that the file does not hold).
OPERATIONS: dict[int, Callable[[_Machine], Any]] = {
    # values
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("I"): _decimal,
    ord("L"): _decimal,
    ord("J"): lambda m: m.push(m.number(4, signed=True)),
    ord("K"): lambda m: m.push(m.number(1)),
    ord("M"): lambda m: m.push(m.number(2)),
    0x8A: lambda m: m.push(_integer(m, m.number(1))),
    0x8B: lambda m: m.push(_integer(m, m.number(4))),
    ord("F"): lambda m: m.push(float(m.line())),
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0]),
    # text and bytes; Python 2 strings are bytes, kept one character per byte
    ord("S"): _quoted,
    ord("T"): lambda m: m.push(str(m.take(m.number(4)), "latin-1")),
    ord("U"): lambda m: m.push(str(m.take(m.number(1)), "latin-1")),
    ord("V"): lambda m: m.push(m.line().encode("latin-1").decode("raw-unicode-escape")),
    ord("X"): lambda m: m.push(m.text(4)),
    0x8C: lambda m: m.push(m.text(1)),
    0x8D: lambda m: m.push(m.text(8)),
    ord("B"): lambda m: m.push(bytes(m.take(m.number(4)))),
    ord("C"): lambda m: m.push(bytes(m.take(m.number(1)))),
    0x8E: lambda m: m.push(bytes(m.take(m.number(8)))),
    0x96: lambda m: m.push(bytes(m.take(m.number(8)))),  # bytearray; nobody changes it here
    # containers
    ord("("): _mark,
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push(tuple(m.pop_mark())),
    0x85: lambda m: m.push(m.pop_many(1)),
    0x86: lambda m: m.push(m.pop_many(2)),
    0x87: lambda m: m.push(m.pop_many(3)),
    ord("]"): lambda m: m.push([]),
    ord("l"): lambda m: m.push(m.pop_mark()),
    ord("a"): lambda m: _appends(m, [m.stack.pop()]),
    ord("e"): lambda m: _appends(m, m.pop_mark()),
    ord("}"): lambda m: m.push({}),
    ord("d"): _dictionary,
    ord("s"): lambda m: m.set_items(list(m.pop_many(2))),
    ord("u"): lambda m: m.set_items(m.pop_mark()),
    0x8F: lambda m: m.push(set()),
    0x90: _add_items,
    0x91: lambda m: m.push(frozenset(map(scalar, m.pop_mark()))),
    # stack and memo
    ord("0"): _pop,
    ord("1"): lambda m: m.pop_mark() and None,
    ord("2"): lambda m: m.push(m.stack[-1]),
    ord("p"): lambda m: m.remember(int(m.line())),
    ord("q"): lambda m: m.remember(m.number(1)),
    ord("r"): lambda m: m.remember(m.number(4)),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("g"): lambda m: m.recall(int(m.line())),
    ord("h"): lambda m: m.recall(m.number(1)),
    ord("j"): lambda m: m.recall(m.number(4)),
    # globals and objects, all through the allow-list
    ord("c"): lambda m: m.resolve(m.line(), m.line()),
    0x93: _stack_global,
    ord("R"): lambda m: m.apply("call"),
    0x81: lambda m: m.apply("new"),
    0x92: _new_with_keywords,
    ord("b"): lambda m: m.build(),
    ord("i"): _old_style,
    ord("P"): lambda m: m.persist(m.line()),
    ord("Q"): lambda m: m.persist(m.stack.pop()),
    # structure
    0x80: _protocol,
    0x95: _frame,
}

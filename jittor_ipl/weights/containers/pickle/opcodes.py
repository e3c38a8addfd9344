"""What each opcode of pickle protocols 0 to 5 does to the machine.

Absent on purpose, so refused: EXT1/2/4 (a process-wide registry), OBJ and INST (old-style classes), NEXT_BUFFER and
READONLY_BUFFER (data that the file does not hold).
"""
from __future__ import annotations

import codecs
import struct
from collections.abc import Callable
from typing import Any

from jittor_ipl.weights.containers.limits import refuse
from jittor_ipl.weights.containers.pickle.machine import Machine
from jittor_ipl.weights.containers.pickle.objects import scalar

STOP = 0x2E
_MAX_INTEGER_BYTES = 64


def _integer(machine: Machine, size: int) -> None:
    if size > _MAX_INTEGER_BYTES:
        refuse(f"an integer of {size} bytes")
    machine.push(machine.number(size, signed=True), 40 + size)


def _decimal(machine: Machine) -> None:
    text = machine.word().removesuffix("L")
    if text in ("00", "01"):  # protocol 0's False and True
        return machine.push(text == "01")
    if len(text) > 2 * _MAX_INTEGER_BYTES:
        refuse(f"an integer of {len(text)} digits")
    return machine.push(int(text), 100)


def _quoted(machine: Machine) -> None:
    """Protocol 0's string: Python 2 bytes between quotes, with escapes; kept one character per byte."""
    piece = machine.line()
    if len(piece) < 2 or piece[0] not in b"'\"" or piece[-1] != piece[0]:
        refuse("a protocol 0 string without quotes")
    machine.pay(2 * len(piece))
    plain, _ = codecs.escape_decode(bytes(piece[1:-1]))
    machine.push_text(memoryview(plain), "latin-1")


def _frame(machine: Machine) -> None:
    if machine.number(8) > len(machine.data) - machine.position:
        refuse("a frame is longer than the file")


def _protocol(machine: Machine) -> None:
    version = machine.number(1)
    if version > 5:
        refuse(f"pickle protocol {version}")


def _dictionary(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.push({}, 64)
    machine.set_items(items)


def _frozen(machine: Machine) -> None:
    items = machine.pop_mark()
    machine.push(frozenset(map(scalar, items)), 216 + 120 * len(items))


def _new_with_keywords(machine: Machine) -> None:
    keywords = machine.stack.pop()
    if not isinstance(keywords, dict) or keywords:
        refuse("an object is created with keyword arguments")
    machine.apply("new")


def _old_style(machine: Machine) -> None:
    """INST calls a global with what lies above the mark; listed like any other refused name."""
    machine.refused[f"{machine.word()}.{machine.word()}"] = None
    refuse("the file makes an object the old way")


OPERATIONS: dict[int, Callable[[Machine], Any]] = {
    # numbers and the three constants
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("I"): _decimal,
    ord("L"): _decimal,
    ord("J"): lambda m: m.push(m.number(4, signed=True), 32),
    ord("K"): lambda m: m.push(m.number(1)),
    ord("M"): lambda m: m.push(m.number(2), 32),
    0x8A: lambda m: _integer(m, m.number(1)),
    0x8B: lambda m: _integer(m, m.number(4)),
    ord("F"): lambda m: m.push(float(m.word()), 24),
    ord("G"): lambda m: m.push(struct.unpack(">d", m.take(8))[0], 24),
    # texts and bytes; Python 2's strings are bytes, kept one character per byte
    ord("S"): _quoted,
    ord("T"): lambda m: m.push_text(m.take(m.number(4)), "latin-1"),
    ord("U"): lambda m: m.push_text(m.take(m.number(1)), "latin-1"),
    ord("V"): lambda m: m.push_text(m.line(), "raw-unicode-escape"),
    ord("X"): lambda m: m.push_text(m.take(m.number(4))),
    0x8C: lambda m: m.push_text(m.take(m.number(1))),
    0x8D: lambda m: m.push_text(m.take(m.number(8))),
    ord("B"): lambda m: m.push_bytes(m.take(m.number(4))),
    ord("C"): lambda m: m.push_bytes(m.take(m.number(1))),
    0x8E: lambda m: m.push_bytes(m.take(m.number(8))),
    0x96: lambda m: m.push_bytes(m.take(m.number(8))),  # bytearray; nobody changes it here
    # containers
    ord(")"): lambda m: m.push(()),
    ord("t"): lambda m: m.push_tuple(m.pop_mark()),
    0x85: lambda m: m.push_tuple(m.pop_many(1)),
    0x86: lambda m: m.push_tuple(m.pop_many(2)),
    0x87: lambda m: m.push_tuple(m.pop_many(3)),
    ord("]"): lambda m: m.push([], 88),
    ord("l"): lambda m: m.push(m.pop_mark(), 88),
    ord("a"): lambda m: m.append_items(m.pop_many(1)),
    ord("e"): lambda m: m.append_items(m.pop_mark()),
    ord("}"): lambda m: m.push({}, 64),
    ord("d"): _dictionary,
    ord("s"): lambda m: m.set_items(m.pop_many(2)),
    ord("u"): lambda m: m.set_items(m.pop_mark()),
    0x8F: lambda m: m.push(set(), 216),
    0x90: lambda m: m.add_items(m.pop_mark()),
    0x91: _frozen,
    # the stack and the memo
    ord("("): lambda m: m.mark(),
    ord("0"): lambda m: m.stack.pop() if m.stack else m.pop_mark(),
    ord("1"): lambda m: m.pop_mark(),
    ord("2"): lambda m: m.push(m.stack[-1]),
    ord("p"): lambda m: m.remember(int(m.word())),
    ord("q"): lambda m: m.remember(m.number(1)),
    ord("r"): lambda m: m.remember(m.number(4)),
    0x94: lambda m: m.remember(len(m.memo)),
    ord("g"): lambda m: m.recall(int(m.word())),
    ord("h"): lambda m: m.recall(m.number(1)),
    ord("j"): lambda m: m.recall(m.number(4)),
    # globals and objects, all through the allow-list
    ord("c"): lambda m: m.resolve(m.word(), m.word()),
    0x93: lambda m: m.resolve(*m.pop_many(2)),
    ord("R"): lambda m: m.apply("call"),
    0x81: lambda m: m.apply("new"),
    0x92: _new_with_keywords,
    ord("b"): lambda m: m.build(),
    ord("i"): _old_style,
    ord("P"): lambda m: m.persist(m.word()),
    ord("Q"): lambda m: m.persist(m.stack.pop()),
    0x80: _protocol,
    0x95: _frame,
}

"""A pickle machine that can only build data: no import, no call, no attribute of anything outside this package.

Python's pickle is a stack language whose GLOBAL and REDUCE name and call arbitrary functions. This interpreter knows
the same opcodes (`opcodes`), but a global becomes an inert `Global` carrying a rule of this project (an
allow-list: how to extend it is told in `objects`). A name without a rule ends in an error that lists all such
names: the machine goes on with an inert stand-in only to find the others, and hands nothing out.

What bounds it is told in `machine`; nothing falls back to Python's `pickle`.
"""
from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from jittor_ipl.weights.containers.limits import UnsafeWeightsError, refuse, shown
from jittor_ipl.weights.containers.pickle.machine import Machine
from jittor_ipl.weights.containers.pickle.objects import Context
from jittor_ipl.weights.containers.pickle.opcodes import OPERATIONS, STOP

MAX_OPERATIONS = 10_000_000     # about ten seconds; a 1024 px generator with its optimiser takes about 50,000
_MAX_NAMED = 12                 # offending globals listed in one message
_STEP = 16                      # bytes that a step costs at most
# What rules and decoding may raise for malformed input, our own errors among them; anything else is our mistake.
_MALFORMED = (ValueError, TypeError, IndexError, KeyError, struct.error, OverflowError, AttributeError)


def read_pickle(data: bytes | memoryview, context: Context, persistent: Callable[[Any], Any] | None = None,
                start: int = 0) -> tuple[Any, int]:
    """Interpret one pickle at `data[start:]` and return its object and the position after its STOP.

    `context` has the rules of the allowed globals and bounds memory; `persistent` resolves persistent ids. Raises
    UnsafeWeightsError, and nothing else, for whatever the bytes hold; its `offending` lists the globals refused.
    """
    machine = Machine(memoryview(data), start, context, persistent)
    try:
        result = _run(machine)
    except _MALFORMED as error:
        machine.refused |= dict.fromkeys(getattr(error, "offending", ()))   # those of a pickle inside this one
        if machine.refused:
            raise _offence(machine.refused) from error
        ours = isinstance(error, UnsafeWeightsError)
        kind, reason = (type(error), error) if ours else (UnsafeWeightsError, "malformed pickle")
        raise kind(f"{reason} (byte {machine.position})") from error
    if machine.refused:
        raise _offence(machine.refused)
    return result, machine.position


def _run(machine: Machine) -> Any:
    for _ in range(MAX_OPERATIONS):
        code = machine.take(1)[0]
        if code == STOP:
            if machine.marks or len(machine.stack) != 1:
                refuse("the pickle ends with an untidy stack")
            return machine.stack[0]
        operation = OPERATIONS.get(code)
        if operation is None:
            refuse(f"opcode 0x{code:02x} is not allowed in a weight file")
        machine.pay(_STEP)
        operation(machine)
    return refuse(f"more than {MAX_OPERATIONS} operations")


def _offence(names: dict[str, None]) -> UnsafeWeightsError:
    listed = ", ".join(shown(name) for name in list(names)[:_MAX_NAMED])
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    model = any(name.startswith(("torch.nn.", "torchvision.", "__main__.", "models.", "model.")) for name in names)
    hint = "if it comes from a program you trust, save only the tensors there"
    if model:
        hint = "it seems to hold a whole pickled model: in the program that wrote it, save model.state_dict() instead"
    return UnsafeWeightsError(f"the file asks for {listed}{more}; reading weights needs no such code, "
                              f"so it is refused ({hint})", tuple(names))

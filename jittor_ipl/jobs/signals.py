"""Ctrl-C and SIGTERM: a loop ends at its next step with everything saved, a parent of workers after it ended them."""
from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(SystemExit):
    """The run stopped because of a signal, after saving. Exit code 130 for Ctrl-C (SIGINT), 143 for SIGTERM."""

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.signal = number


@contextmanager
def handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have `handler` called for SIGINT and SIGTERM; nothing happens outside the main thread, which alone gets them."""
    try:
        # After the import of Jittor, which installs handlers of its own that quit on the spot.
        before = {number: signal.signal(number, handler) for number in SIGNALS}
    except ValueError:  # not the main thread
        before = {}
    try:
        yield
    finally:
        for number, old in before.items():
            # None stands for a handler that was not installed from Python and cannot be put back.
            signal.signal(number, signal.SIG_DFL if old is None else old)


@contextmanager
def raised_once() -> Iterator[None]:
    """The first SIGINT raises `KeyboardInterrupt`, the first SIGTERM `Interrupted`; later ones do nothing."""
    def stop(number: int, frame: FrameType | None) -> None:
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)     # what ends the workers must not be ended itself
        raise KeyboardInterrupt if number == signal.SIGINT else Interrupted(number)
    with handled(stop):
        yield


class StopOnSignal:
    """While active, the first SIGINT or SIGTERM only sets `received`; the loop looks at it after every step.

    A second SIGINT ends the process the way the system does it, without saving. Works in the main thread only.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._handlers = handled(self._note)

    def __enter__(self) -> StopOnSignal:
        self._handlers.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Restore the handlers; raise `Interrupted` after a signal, whether a RuntimeError followed it or no error did.

        A terminal's Ctrl-C and `timeout` signal the whole process group: the compiler that Jittor just then runs dies
        of it, and Jittor raises. The next run compiles that kernel again and goes on after its last checkpoint.
        """
        self._handlers.__exit__(None, None, None)
        if self.received is not None and isinstance(error, RuntimeError):
            _say("stopped within a step; the same command goes on after the last checkpoint\n")
            raise Interrupted(self.received) from error
        if error is None:
            self.raise_if_received()    # it came after the last look: what follows must not begin

    def raise_if_received(self) -> None:
        """Raise `Interrupted` when a signal came; call this after saving."""
        if self.received is not None:
            raise Interrupted(self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None and number == signal.SIGINT:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if self.received is None:
            self.received = number
            _say(f"\n{signal.Signals(number).name}: saving after this step (Ctrl-C once more quits without saving)\n")


def _say(text: str) -> None:
    # Not print: the signal may have come in the middle of one, and Python refuses to write into a half-written buffer.
    # Where errors go to a buffer, to be shown or not, there is no file to write into, and nothing is said.
    with suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), text.encode())

"""Worker processes: each keeps what it once loaded and answers one request after the other.

Spawned, not forked: Jittor's threads would not survive a fork. Ctrl-C goes to the parent alone, which ends its workers
by SIGTERM (training saves first); a worker whose parent is gone, however it ended, ends too.
"""
from __future__ import annotations

import copy
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.pool import ExceptionWithTraceback
from threading import Thread
from typing import Any

from jittor_ipl.errors import UserError
from jittor_ipl.jobs.signals import SIGNALS, Interrupted, raised_once

Function = Callable[..., Any]
Environment = Mapping[str, str]


class WorkerDied(UserError):
    """A worker's process ended before it had answered."""


class Progress:
    """How the function of a worker that reports tells what it has so far, and hears that nobody waits any more."""

    def __init__(self, connection: Connection, number: int) -> None:
        self._connection, self._number, self._cancelled = connection, number, False

    def __call__(self, value: Any) -> None:
        """Send a value to whoever waits for the answer."""
        self._connection.send((None, value))

    @property
    def cancelled(self) -> bool:
        """Whether `Worker.cancel` was called since this request came."""
        while not self._cancelled and self._connection.poll():
            number, _, cancelled = self._connection.recv()
            self._cancelled = cancelled and number == self._number
        return self._cancelled


class Worker:
    """A process of its own that answers what `send` or `ask` gives it by `function(request)`.

    `function` is pickled; an object with `__call__` may load its models at the first request and keep them. The process
    starts with the first request, and again with the next one after it died; `environment` is added to its variables.
    With `reports` it is called as `function(request, progress)`, see `Progress`.
    """

    def __init__(self, function: Function, environment: Environment | None = None, reports: bool = False) -> None:
        self.function, self.environment, self.reports = function, dict(environment or {}), reports
        self.busy = False
        self.connection: Connection | None = None
        self._process: multiprocessing.process.BaseProcess | None = None
        self._number = 0            # of the request: a cancellation that comes late is nobody else's

    @property
    def pid(self) -> int | None:
        """The process's number, None while there is none."""
        return None if self._process is None else self._process.pid

    def ask(self, request: Any) -> Any:
        """Return the answer to a request; raises what the function raised, and `WorkerDied`."""
        self.send(request)
        return self.receive()

    def send(self, request: Any) -> None:
        """Hand a request over without waiting; `connection` can be waited for."""
        assert not self.busy, "one request at a time"
        if self._process is not None and not self._process.is_alive():
            self.stop()
        if self._process is None:
            self._start()
        self.busy, self._number = True, self._number + 1
        self.connection.send((self._number, request, False))

    def cancel(self) -> None:
        """Tell the function, through its `Progress`, that nobody waits for its answer; it ends when it looks.

        Another thread may call this, and `terminate`, while one waits in `receive`.
        """
        if self.busy:
            with suppress(OSError):     # it has just died
                self.connection.send((self._number, None, True))

    def receive(self, note: Callable[[Any], object] = lambda value: None) -> Any:
        """Wait for the answer to what was sent; raises as `ask`, and `Interrupted` where a signal ended the process.

        `note` is called with every value that the function reports before.
        """
        try:
            fine, value = self.connection.recv()
            while fine is None:
                note(value)
                fine, value = self.connection.recv()
        except (EOFError, ConnectionError):
            process, self.busy = self._process, False
            self.stop()
            raise _death(process.exitcode) from None
        self.busy = False
        if not fine:
            raise value
        return value

    def terminate(self) -> None:
        """Send the process SIGTERM; who waits in `receive` gets `Interrupted`, or, where it had ended, `WorkerDied`."""
        process = self._process
        if process is not None:
            process.terminate()

    def end(self) -> None:
        """Have the process end, without waiting for it: a busy one gets SIGTERM, an idle one its last request."""
        if self._process is not None:
            if self.busy:
                self._process.terminate()
            self.connection.close()     # a late answer goes nowhere, and ends the process, too

    def stop(self) -> None:
        """End the process and wait until it has ended."""
        self.end()
        if self._process is not None:
            self._process.join()
        self._process, self.busy = None, False

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self.function, self.reports))
        # A Ctrl-C waits until the process stands; the child lets go of it once it ignores it.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            with _environment(self.environment):
                self._process.start()
        finally:
            theirs.close()              # so that the end of the process is the end of the pipe
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@dataclass(frozen=True)
class Answer:
    """What became of one request: its number, counted from 0, its value or its error, and the seconds it took."""

    number: int
    request: Any
    value: Any
    error: Exception | None
    seconds: float


def answers(function: Function, requests: Iterable[Any], environments: Sequence[Environment],
            fresh: bool = False) -> Generator[Answer, None, None]:
    """Yield the answers to `requests` as they come, from a worker for each of `environments`; errors are answers, too.

    A request is drawn when a worker is free. A worker that died is replaced; `fresh` gives every request a new process.
    When the caller stops early, or at SIGINT or SIGTERM, all workers are ended before `KeyboardInterrupt` or
    `Interrupted` goes on; so, too, when a signal ended one of them.
    """
    numbered, workers = enumerate(requests), [Worker(function, environment) for environment in environments]
    waiting: dict[Connection, tuple[Worker, int, Any, float]] = {}

    def hand_over(worker: Worker) -> None:
        for number, request in numbered:
            worker.send(request)
            waiting[worker.connection] = worker, number, request, time.monotonic()
            return

    with raised_once():
        try:
            for worker in workers:
                hand_over(worker)
            while waiting:
                for connection in wait(list(waiting)):
                    worker, number, request, started = waiting.pop(connection)
                    value, error = None, None
                    try:
                        value = worker.receive()
                    except Exception as problem:    # `Interrupted` is none: it ends all
                        error = problem
                    if fresh:
                        worker.stop()
                    yield Answer(number, request, value, error, time.monotonic() - started)
                    hand_over(worker)
        finally:
            for worker in workers:      # all at once: each may have something to save
                worker.end()
            for worker in workers:
                worker.stop()


def ordered(stream: Generator[Answer, None, None]) -> Iterator[Answer]:
    """Yield the answers of a stream in the order of the requests; the first error is raised and ends all the work."""
    early, awaited = {}, 0
    with closing(stream):
        for answer in stream:
            early[answer.number] = answer
            while awaited in early:
                answer = early.pop(awaited)
                if answer.error is not None:
                    raise answer.error
                yield answer
                awaited += 1


def in_order(function: Function, requests: Iterable[Any], environments: Sequence[Environment]) -> Iterator[Any]:
    """Yield the values of `answers` in the order of the requests, see `ordered`."""
    with closing(ordered(answers(function, requests, environments))) as stream:
        yield from (answer.value for answer in stream)


def _death(code: int) -> BaseException:
    """Return what a process's exit code means: the user's signal, or a death of its own."""
    for number in SIGNALS:
        if code in (-number, 128 + number):
            return Interrupted(number)
    how = f"{signal.Signals(-code).name}: out of memory?" if code < 0 else f"exit code {code}"
    return WorkerDied(f"a worker process died before it was done ({how}): run fewer side by side")


@contextmanager
def _environment(changes: Environment) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _serve(connection: Connection, function: Function, reports: bool) -> None:
    """The worker's process: requests in, answers out, until the pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        while True:
            number, request, cancelled = connection.recv()
            if cancelled:       # too late: it was answered meanwhile
                continue
            try:
                reply = True, function(request, Progress(connection, number)) if reports else function(request)
            except Exception as error:
                reply = False, _portable(error)
            connection.send(reply)
    except (EOFError, ConnectionError):
        return


def _end_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _portable(error: Exception) -> Any:
    """Return an exception as it can travel: with the text of its traceback, as text where it cannot be pickled."""
    try:
        copy.deepcopy(error)    # made anew from its arguments, as pickle does
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)
    return ExceptionWithTraceback(error, error.__traceback__)

"""Run many commands, one process each, dealt to devices in turn; a failed one does not stop the others."""
from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)  # exit codes of a process that a signal ended
_TICK = 0.05  # seconds between two looks at the processes


@dataclass(frozen=True)
class Task:
    """One command and what messages call it."""

    label: str
    command: Sequence[str]


class Stopped(KeyboardInterrupt):
    """SIGINT or SIGTERM arrived; every process has ended."""


def deal(tasks: Sequence[Task], devices: Sequence[Mapping[str, str]] = ({},)) -> dict[str, int]:
    """Run all tasks, at most one at a time per device, and return label -> exit code.

    A device is a set of environment variables, such as {"CUDA_VISIBLE_DEVICES": "1"}. SIGINT and SIGTERM are passed on
    to the running processes, which may save; when they have ended, or one of them was stopped, `Stopped` is raised.
    """
    waiting, running, codes = list(tasks), {}, {}
    with _noted_signals() as received:
        while waiting or running:
            for index in [i for i in range(len(devices)) if i not in running and not received][:len(waiting)]:
                task = waiting.pop(0)
                running[index] = task, subprocess.Popen(task.command, env={**os.environ, **devices[index]})
            _pass_on(received, running)
            for index, (task, process) in list(running.items()):
                if process.poll() is not None:
                    codes[task.label] = process.returncode
                    del running[index]
                    received.extend([signal.SIGTERM] * (process.returncode in STOPPED and not received))
            if received and not running:
                raise Stopped
            time.sleep(_TICK)
    return codes


def _pass_on(received: list[int], running: Mapping[int, tuple[Task, subprocess.Popen]]) -> None:
    """Send the first received signal to every running process, once; a terminal's Ctrl-C has reached them already."""
    for _, process in running.values():
        if received and not getattr(process, "told", False):
            process.told = True
            process.send_signal(signal.SIGTERM)


@contextmanager
def _noted_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list instead of ending this process."""
    received: list[int] = []
    before = {number: signal.signal(number, lambda n, _: received.append(n)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Processes that train one generator together under `mpirun`: each takes its share of every batch, all end alike.

All of them draw the whole batch, which a seed decides, and compute their rows of it; losses and gradients are added up
over all in one exchange a step. So they stay equal bit for bit, and are what one process with the whole batch is, but
for the order of the sums. Jittor's MPI does the exchange; docs/several_machines.md has the command.
"""
from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.jobs.signals import StopOnSignal
from jittor_ipl.runtime.backend import jt

STEP = "mpirun -np 2 python -m jittor_ipl adapt --mpi --style disney"
# A process of its own: one that waits in MPI holds Python's lock, so that no thread of it would run.
_WATCHER = """
import os, select, signal, sys
pid, seconds, who, limit = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], None
while select.select([0], [], [], limit)[0]:
    if not (told := os.read(0, 4096)):
        sys.exit()
    limit = seconds if told.endswith(b"w") else None
print(f"error: {who} has waited more than {seconds:g} s for another one, which is gone or hangs; the same command goes "
      "on after the last checkpoint, --mpi-timeout allows more", file=sys.stderr, flush=True)
os.kill(pid, signal.SIGKILL)
"""


class Watcher:
    """Ends the process `pid` by SIGKILL, with a line that names it as `who`, when one `waiting()` outlasts `seconds`.

    Time between two of them does not count, however long it is.
    """

    def __init__(self, pid: int, seconds: float, who: str) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", _WATCHER, str(pid), str(seconds), who],
                                         stdin=subprocess.PIPE, bufsize=0)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Watch what the block does."""
        self._process.stdin.write(b"w")
        try:
            yield
        finally:
            with suppress(BrokenPipeError):     # it has ended, for it has ended `pid`
                self._process.stdin.write(b"d")

    def close(self) -> None:
        """End the watching."""
        self._process.stdin.close()
        self._process.wait()


class Ranks:
    """The processes of this training, of which this one is `rank` of `count`.

    `timeout`: seconds that an exchange may wait for the other processes; then this one is ended with a line rather than
    wait for ever for one that is gone, and mpirun ends the others.
    Raises UserError outside mpirun, and where a first exchange gives wrong numbers.
    A signal that `stop` got in one process stops all of them after the same step: `self.stop` says when.
    """

    def __init__(self, timeout: float, stop: StopOnSignal) -> None:
        if not jt.in_mpi:
            raise UserError(f"--mpi is for processes that mpirun starts: {STEP}")
        self.rank, self.count = int(jt.rank), int(jt.world_size)
        self._signals, self.stop = stop, StopOnSignal()
        self._watcher = Watcher(os.getpid(), timeout, f"process {self.rank} of {self.count}")
        told, = self.added([jt.array(np.float32([self.rank + 1]))])
        if told.item() != self.count * (self.count + 1) / 2:
            raise UserError(f"MPI adds up wrongly here ({told.item()} of {self.count} processes): train without --mpi")

    def rows(self, batch: int, parts: Sequence[slice]) -> list[slice]:
        """Return this process's share of the rows of a batch, cut where `parts` are; UserError for an uneven one."""
        if batch % self.count:
            raise UserError(f"generator.batch {batch} cannot be shared by {self.count} processes: make it a multiple "
                            f"of {self.count}")
        first, last = self.rank * batch // self.count, (self.rank + 1) * batch // self.count
        cuts = [(part.start or 0, batch if part.stop is None else part.stop) for part in parts]
        return [slice(max(first, start), min(last, stop)) for start, stop in cuts if start < last and stop > first]

    def added(self, values: Sequence[jt.Var]) -> list[jt.Var]:
        """Return the sums of float32 values over all processes, in the same order: one exchange."""
        with jt.no_grad(), self._watcher.waiting():
            received = jt.array(np.float32([self._signals.received or 0]))
            flat = jt.concat([*(value.float32().reshape(-1) for value in values), received], 0).mpi_all_reduce("add")
            flat.sync()
            if flat[-1:].item():
                self.stop.received = self._signals.received or signal.SIGTERM
            ends = np.cumsum([value.numel() for value in values]).tolist()
            out = [flat[end - value.numel():end].reshape(value.shape) for value, end in zip(values, ends)]
            jt.sync(out)
        return out

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.added([])

    def close(self) -> None:
        """Watch over this process no longer."""
        self._watcher.close()

    def require_equal(self, number: int, what: str) -> None:
        """Raise UserError, in all processes, unless all have the same whole number."""
        one_hot = np.zeros((2, self.count), np.float32)
        one_hot[:, self.rank] = divmod(number, 1 << 20)     # float32 holds either half exactly
        told, = self.added([jt.array(one_hot)])
        numbers = [int(high) << 20 | int(low) for high, low in told.numpy().T]
        if len(set(numbers)) > 1:
            raise UserError(f"the processes stand at different {what}, {', '.join(map(str, numbers))}: begin anew with "
                            "--restart")

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
from collections.abc import Sequence

import numpy as np

from jittor_ipl.errors import UserError
from jittor_ipl.jobs.signals import StopOnSignal
from jittor_ipl.runtime.backend import jt

STEP = "mpirun -np 2 python -m jittor_ipl adapt --mpi --style disney"
# A process of its own: one that waits in MPI holds Python's lock, so that no thread of it would run.
_WATCHER = """
import os, select, signal, sys
pid, seconds, who = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
while select.select([0], [], [], seconds)[0]:
    if not os.read(0, 4096):
        sys.exit()
print(f"error: {who}: a step has taken more than {seconds:.0f} s, so another process is gone or hangs; the same "
      "command goes on after the last checkpoint, --mpi-timeout allows more", file=sys.stderr, flush=True)
os.kill(pid, signal.SIGKILL)
"""


class Ranks:
    """The processes of this training, of which this one is `rank` of `count`.

    `timeout`: seconds that a step, kernels compiled on the way included, may take; then this process is ended with a
    line rather than wait for ever for one that is gone, and mpirun ends the others.
    Raises UserError outside mpirun, and where a first exchange gives wrong numbers.
    A signal that `stop` got in one process stops all of them after the same step: `self.stop` says when.
    """

    def __init__(self, timeout: float, stop: StopOnSignal) -> None:
        if not jt.in_mpi:
            raise UserError(f"--mpi is for processes that mpirun starts: {STEP}")
        self.rank, self.count, self.timeout = int(jt.rank), int(jt.world_size), timeout
        self._signals, self.stop = stop, StopOnSignal()
        self._watcher = subprocess.Popen([sys.executable, "-c", _WATCHER, str(os.getpid()), str(timeout),
                                          f"process {self.rank} of {self.count}"], stdin=subprocess.PIPE)
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
        with jt.no_grad():
            received = jt.array(np.float32([self._signals.received or 0]))
            flat = jt.concat([*(value.float32().reshape(-1) for value in values), received], 0).mpi_all_reduce("add")
            flat.sync()
            if flat[-1:].item():
                self.stop.received = self._signals.received or signal.SIGTERM
            ends = np.cumsum([value.numel() for value in values]).tolist()
            out = [flat[end - value.numel():end].reshape(value.shape) for value, end in zip(values, ends)]
            jt.sync(out)
        self._watcher.stdin.write(b".")
        self._watcher.stdin.flush()
        return out

    def require_equal(self, number: int, what: str) -> None:
        """Raise UserError, in all processes, unless all have the same whole number."""
        one_hot = np.zeros((2, self.count), np.float32)
        one_hot[:, self.rank] = divmod(number, 1 << 20)     # float32 holds either half exactly
        told, = self.added([jt.array(one_hot)])
        numbers = [int(high) << 20 | int(low) for high, low in told.numpy().T]
        if len(set(numbers)) > 1:
            raise UserError(f"the processes stand at different {what}, {', '.join(map(str, numbers))}: begin anew with "
                            "--restart")

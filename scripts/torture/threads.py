"""Stop a run and go on with another number of threads: the bits must be those of a run that nobody stopped.

Every number of threads makes one undisturbed run; then a run changes its number at each of its stops.

    python -m scripts.torture.threads
"""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .common import ROOT, finish, fresh, in_child, parse
from .networks import write_tiny

STOPS = [("mapper", 2), ("generator", 1), ("generator", 4)]
TRAIN = """
import io, os, signal, sys
from jittor_ipl.config import load_suite
from jittor_ipl.train import adapt
suite, folder, stage, number = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
class Stopping(adapt._Stage):
    def after_step(self, step, metrics, state):
        if (self.name, step) == (stage, number):
            os.kill(os.getpid(), signal.SIGTERM)
        return super().after_step(step, metrics, state)
adapt._Stage = Stopping
adapt.adapt_style(load_suite(suite).runs()[0], folder, stream=io.StringIO())
"""


def main(argv: list[str] | None = None) -> int:
    """Train and compare, and print the figures."""
    arguments = parse(__doc__.splitlines()[0], 4, 2, argv)
    work = fresh(arguments.work)
    suite = work / "networks/suite.yaml"
    in_child(lambda: write_tiny(suite.parent), work / "log")
    numbers = [1, 2, 4][:max(2, arguments.count - 1)]
    straight = {number: _train(suite, work / f"straight-{number}", number) for number in numbers}
    mixed = work / "mixed"
    for number, (stage, step) in zip([2, 1, numbers[-1]], STOPS):
        _train(suite, mixed, number, stage, step)
    finished = _train(suite, mixed, 2)
    alike = sum(content == straight[1] for content in straight.values())
    figures = {"numbers_of_threads": numbers, "undisturbed_runs_alike": f"{alike} of {len(straight)}",
               "stops_with_a_change_of_threads": len(STOPS), "bit_equal_after_them": finished == straight[1]}
    return finish("threads", arguments, figures, alike == len(straight) and finished == straight[1],
                  "resume with another number of threads, bit for bit")


def _train(suite: Path, folder: Path, threads: int, stage: str = "none", step: int = 0) -> list[bytes]:
    """Train in a process with that many threads, stopped after a step when one is given; return the weights' bytes."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    code = subprocess.run([sys.executable, "-c", TRAIN, str(suite), str(folder), stage, str(step)], cwd=ROOT, env=environment).returncode
    assert code == (143 if step else 0), code
    return [] if step else [(folder / name).read_bytes() for name in ("mapper.safetensors", "generator.safetensors")]


if __name__ == "__main__":
    raise SystemExit(main())

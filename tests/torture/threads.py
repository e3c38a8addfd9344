"""Stop and resume a run with the same and with another number of threads, and draw pictures with each.

With the same number the bits must be those of a run that nobody stopped, and pictures must have the same bits with any
number. A change in the middle of a training may move the last bits (oneDNN sums a convolution's weight gradient in as
many parts as there are threads); it must be told, and it must stay small.

    python -m tests.torture.threads
"""
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.torture.common import ROOT, finish, fresh, in_child, parse
from tests.torture.suite import write_tiny

MOST = 1e-2  # the tiny suite's learning rates are 0.02 and 0.05: half a step
STOPS = [("mapper", 2), ("generator", 1), ("generator", 4)]
TRAIN = """
import os, signal, sys
from jittor_ipl.config import load_suite
from jittor_ipl.adaptation import adapt
suite, folder, stage, number = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
class Stopping(adapt.Stage):
    def after_step(self, step, metrics, state):
        if (self.name, step) == (stage, number):
            os.kill(os.getpid(), signal.SIGTERM)
        return super().after_step(step, metrics, state)
adapt.Stage = Stopping
adapt.adapt_style(load_suite(suite).runs()[0], folder, stream=sys.stdout)
"""


def main(argv: list[str] | None = None) -> int:
    """Train and compare, and print the figures."""
    arguments = parse(__doc__.splitlines()[0], 3, 2, argv)
    work = fresh(arguments.work)
    suite = work / "networks/suite.yaml"
    in_child(lambda: write_tiny(suite.parent), work / "log")
    numbers = [1, 2, 4][:arguments.count]
    straight = {number: _train(suite, work / f"straight-{number}", number)[0] for number in numbers}
    stopped = {number: _stopped(suite, work / f"stopped-{number}", [number] * 4)[0] for number in numbers}
    mixed, told = _stopped(suite, work / "mixed", [2, 1, numbers[-1], 1])
    pictures = {number: _pictures(work / "straight-1", work / f"pictures-{number}", number) for number in numbers}
    furthest = max(_distance(mixed, weights) for weights in straight.values())
    alike = all(stopped[number] == straight[number] for number in numbers)
    figures = {"numbers_of_threads": numbers, "stops_of_each_run": len(STOPS), "bit_equal_with_the_same_number": alike,
               "pictures_alike_with_every_number": len({tuple(made) for made in pictures.values()}) == 1,
               "changes_told": f"{told} of {len(STOPS)}", "largest_difference_after_changes": f"{furthest:.1e}"}
    passed = alike and figures["pictures_alike_with_every_number"] and told >= len(STOPS) and furthest < MOST
    return finish("threads", arguments, figures, passed, "resume and pictures with one or another number of threads")


def _stopped(suite: Path, folder: Path, numbers: list[int]) -> tuple[list[bytes], int]:
    """Train with a stop after each of STOPS, each sitting with its number of threads; return the weights and the lines
    told.
    """
    told = 0
    for number, stop in zip(numbers, [*STOPS, ("none", 0)]):
        weights, lines = _train(suite, folder, number, *stop)
        told += "the weights will differ in their last bits" in lines
    return weights, told


def _distance(one: list[bytes], other: list[bytes]) -> float:
    """Return the largest difference of two runs' weights."""
    pairs = [(_floats(a), _floats(b)) for a, b in zip(one, other)]
    return max(float(np.abs(a - b).max()) for a, b in pairs)


def _floats(data: bytes) -> np.ndarray:
    """Return the numbers of a safetensors file whose tensors are all float32."""
    return np.frombuffer(data, np.float32, offset=8 + int.from_bytes(data[:8], "little"))


def _pictures(run: Path, folder: Path, threads: int) -> list[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    subprocess.run([sys.executable, "-m", "jittor_ipl", "generate", "--weights", str(run), "--seeds", "0-3", "--outdir",
                    str(folder)],
                   cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return [path.read_bytes() for path in sorted(folder.glob("*.png"))]


def _train(suite: Path, folder: Path, threads: int, stage: str = "none", step: int = 0) -> tuple[list[bytes], str]:
    """Train in a process with that many threads, stopped after a step when one is given; return weights and what was
    told.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-c", TRAIN, str(suite), str(folder), stage, str(step)], cwd=ROOT,
                          env=environment,
                          capture_output=True, text=True)
    assert done.returncode == (143 if step else 0), done.stderr[-2000:]
    names = () if step else ("mapper.safetensors", "generator.safetensors")
    return [(folder / name).read_bytes() for name in names], done.stdout


if __name__ == "__main__":
    raise SystemExit(main())

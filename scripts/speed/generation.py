"""Speed and peak memory of generation and training for named shapes, one JSON object per line; random weights.

    python scripts/speed/generation.py --list
    python scripts/speed/generation.py generate:config-f-256 train:demo-64     (the quick ones without names)
    python scripts/speed/generation.py generate:config-f-256 stage1:ffhq-256 stage2:ffhq-256 \\
        --reference-python PYTHON --official CHECKOUT

The last times the code of the IPL paper (a clone of it, run by a Python with PyTorch) beside ours, in turn on the same
machine, and prints how many times as long and as much memory it takes. Every case runs in a process of its own, so that
its peak memory is its own. CPU seconds (all threads together) tell more than wall seconds on a busy machine. A case is
a function that returns a dictionary: add it to CASES.
"""
from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

DEMO_CHANNELS = {4: 128, 8: 128, 16: 80, 32: 48, 64: 32}


def measure_generation(size: int, batch: int, style_dim: int = 512, channels: dict[int, int] | None = None,
                     gradients: bool = False, repeats: int = 4) -> dict:
    """Time z -> images (with `gradients`: and back to every parameter) against the floor set by the convolutions."""
    from jittor_ipl.models.stylegan2.config import GeneratorConfig
    from jittor_ipl.models.stylegan2.generator import Generator
    from jittor_ipl.runtime.backend import jt
    generator = Generator(GeneratorConfig(size, style_dim, channels=channels))
    z = jt.array(np.random.RandomState(0).randn(batch, style_dim).astype(np.float32))
    parameters = list(generator.trainable().values())

    def step() -> None:
        if gradients:
            image = generator.synthesis(generator.mapping(z))
            jt.sync(jt.grad((image * image).sum(), parameters), True)
        else:
            with jt.no_grad():
                generator.synthesis(generator.mapping(z)).sync(True)

    work = convolution_gflop(generator.config.channels, batch) * (3 if gradients else 1)
    first_wall, _ = timed(step)
    wall, cpu = min(timed(step) for _ in range(repeats))
    rate = convolution_rate()
    return {"first_s": round(first_wall, 2), "wall_s": round(wall, 3), "cpu_s": round(cpu, 3),
            "gflop": round(work, 1), "gflop_per_cpu_s": round(rate, 1), "floor_cpu_s": round(work / rate, 3)}


def convolution_gflop(channels: dict[int, int], batch: int) -> float:
    """Return the floating-point operations (1e9) of the 3x3 convolutions; all else is a few per cent of them."""
    sizes = sorted(channels)
    products = channels[4] ** 2 * 16
    products += sum(channels[a] * channels[b] * a * a + channels[b] ** 2 * b * b for a, b in zip(sizes, sizes[1:]))
    return 2 * 9 * batch * products / 1e9


def convolution_rate() -> float:
    """Return the GFLOP per CPU second that one large 3x3 convolution reaches here, layout changes included."""
    from jittor_ipl.ops.conv import conv2d
    from jittor_ipl.runtime.backend import jt
    random, work = np.random.RandomState(1), 2 * 9 * 4 * 512 * 512 * 1024 / 1e9
    x, w = (jt.array(random.randn(*shape).astype(np.float32)) for shape in ((4, 512, 32, 32), (512, 512, 3, 3)))
    return max(work / timed(lambda: conv2d(x, w, padding=1).sync(True))[1] for _ in range(5))


def chosen_layers(size: int) -> int:
    """Return how many layers the official code trains at a time for pictures of this side."""
    return int(2 * (2 * np.log2(size) - 2) / 3)


def timed(call: Callable[[], None]) -> tuple[float, float]:
    """Return wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure_training(stage: str, shape: str, steps: int = 8) -> dict:
    """Time one stage of training; the shapes live in training.py beside this file."""
    import training
    return training.CASES[stage](shape, steps)


@dataclass(frozen=True)
class Peer:
    """What the official code does for the same shape: a case of training_reference.py, side in pixels, batch."""

    case: str
    size: int
    batch: int


CASES: dict[str, Callable[[], dict]] = {
    "generate:config-f-256": lambda: measure_generation(256, 4),
    "generate:demo-64": lambda: measure_generation(64, 16, 64, DEMO_CHANNELS),
    "train:demo-64": lambda: measure_generation(64, 16, 64, DEMO_CHANNELS, gradients=True),
    "stage1:demo": lambda: measure_training("stage1", "demo"),
    "stage2:demo": lambda: measure_training("stage2", "demo"),
    "generate:config-f-1024": lambda: measure_generation(1024, 1),
    "stage1:ffhq-256": lambda: measure_training("stage1", "ffhq-256", 4),
    "stage2:ffhq-256": lambda: measure_training("stage2", "ffhq-256", 4),
    "stage1:ffhq-1024": lambda: measure_training("stage1", "ffhq-1024", 2),
    "stage2:ffhq-1024": lambda: measure_training("stage2", "ffhq-1024", 2),
}
QUICK = [name for name in CASES if "ffhq" not in name and "1024" not in name]
PEERS = {"generate:config-f-256": Peer("generate", 256, 4), "generate:config-f-1024": Peer("generate", 1024, 1),
         "stage1:ffhq-256": Peer("stage1", 256, 4), "stage2:ffhq-256": Peer("stage2", 256, 2),
         "stage1:ffhq-1024": Peer("stage1", 1024, 4)}


def compared(name: str, options: argparse.Namespace) -> bool:
    """Run a case, and its peer where asked for, each in a process; print both and the ratio. Return if none failed."""
    commands = [[sys.executable, __file__, "--here", name]]
    if options.official and name in PEERS:
        peer = PEERS[name]
        commands.append([options.reference_python, Path(__file__).with_name("training_reference.py"), peer.case,
                         "--size", str(peer.size), "--batch", str(peer.batch), "--official", options.official])
    found = []
    for command in commands:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            return False
        line = done.stdout.splitlines()[-1]
        print(line, flush=True)
        found.append(json.loads(line))
    if len(found) == 2:
        ours, theirs = found
        print(json.dumps({"case": name, **{f"times_{key}": round(theirs[key] / ours[key], 2)
                                           for key in ("wall_s", "cpu_s", "peak_memory_mib")}}), flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="see --list; the quick ones when none is named")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--reference-python", type=Path, metavar="PYTHON", help="one with PyTorch and openai-clip")
    parser.add_argument("--official", type=Path, metavar="DIR", help="a clone of the code of the IPL paper")
    parser.add_argument("--here", action="store_true", help="run in this process (what each case's own process does)")
    options = parser.parse_args()
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}; choose from {', '.join(CASES)}")
    if bool(options.official) != bool(options.reference_python):
        parser.error("--official and --reference-python go together")
    if options.list:
        print("\n".join(CASES))
        return 0
    if not options.here:
        return int(not all([compared(name, options) for name in options.cases or QUICK]))
    for name in options.cases:
        result = CASES[name]()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        print(json.dumps({"case": name, "threads": threads, **result, "peak_memory_mib": memory}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

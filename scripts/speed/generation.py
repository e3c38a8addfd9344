"""Speed and peak memory of generation and training for named shapes, one JSON object per line; random weights.

    python scripts/speed/generation.py --list
    python scripts/speed/generation.py generate:config-f-256 train:demo-64     (all of them without names)

Every case runs in a process of its own, so that its peak memory is its own. CPU seconds (all threads together) tell
more than wall seconds on a busy machine. A case is a function that returns a dictionary: add it to CASES.
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


def timed(call: Callable[[], None]) -> tuple[float, float]:
    """Return wall and CPU seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - wall, time.process_time() - cpu


def measure_training(stage: str, shape: str) -> dict:
    """Time one stage of training; the shapes live in training.py beside this file."""
    import training
    return training.CASES[stage](shape)


CASES: dict[str, Callable[[], dict]] = {
    "generate:config-f-256": lambda: measure_generation(256, 4),
    "generate:demo-64": lambda: measure_generation(64, 16, 64, DEMO_CHANNELS),
    "train:demo-64": lambda: measure_generation(64, 16, 64, DEMO_CHANNELS, gradients=True),
    "stage1:demo": lambda: measure_training("stage1", "demo"),
    "stage2:demo": lambda: measure_training("stage2", "demo"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="see --list; all of them when none is named")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--here", action="store_true", help="run in this process (what each case's own process does)")
    options = parser.parse_args()
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}; choose from {', '.join(CASES)}")
    if options.list:
        print("\n".join(CASES))
        return 0
    if not options.here:
        codes = [subprocess.call([sys.executable, __file__, "--here", name]) for name in options.cases or CASES]
        return max(codes)
    for name in options.cases:
        result = CASES[name]()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
        print(json.dumps({"case": name, "threads": threads, **result, "peak_memory_mib": memory}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

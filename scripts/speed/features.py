"""Measure the networks of the metrics: pictures per second of CPU time, one JSON line each.

    OMP_NUM_THREADS=1 python scripts/speed/features.py

Four pictures of 256 px, the best of three; weights are zeros, which takes as long as any others.
"""
from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np  # noqa: E402

from jittor_ipl.models.features.arcface import Backbone  # noqa: E402
from jittor_ipl.models.features.inception import Inception  # noqa: E402
from jittor_ipl.models.features.lpips import NETS, Lpips  # noqa: E402
from jittor_ipl.runtime.backend import jt  # noqa: E402

COUNT, SIZE, REPEATS = 4, 256, 3


def measure(name: str, run) -> None:
    """Print how many pictures `run` handles per second of CPU time, all threads together."""
    jt.sync(run())
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        jt.sync(run())
        seconds.append(time.process_time() - start)
    print(json.dumps({"network": name, "images_per_cpu_second": round(COUNT / min(seconds), 2)}), flush=True)


def main() -> None:
    images = jt.array(np.random.default_rng(0).random((COUNT, 3, SIZE, SIZE), np.float32) * 2 - 1)
    with jt.no_grad():
        inception, faces = Inception(), Backbone()
        measure("inception", lambda: list(inception.features(images).values()))
        for net in NETS:
            lpips = Lpips(net)
            measure(f"lpips-{net}", lambda: lpips.embed(images))
        measure("arcface", lambda: [faces.embed(images)])


if __name__ == "__main__":
    main()

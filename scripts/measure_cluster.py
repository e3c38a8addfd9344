#!/usr/bin/env python3
"""The task times and bytes that docs/scale.md reckons with, as JSON lines, in CPU seconds of all threads together.

    python scripts/measure_cluster.py start driver image        the parts that take a minute or two
    python scripts/measure_cluster.py image --size 1024
    python scripts/measure_cluster.py steps                     a step of each stage of configs/ffhq.yaml at 256 px

start: a process of its own until it has drawn its first picture of the demo. driver: what one picture of a task that is
done costs where the command stands. image: a picture of StyleGAN2 config-f with random weights, and its file; random
networks draw smoother pictures than trained ones: the bound to reckon with is the bytes of the pixels. steps: with
random weights of the real size.
"""
from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "speed")]
PICTURES = 200          # of the driver's part


def start() -> dict[str, float]:
    """Return what a new process costs before its work: imports, kernels from the cache, weights."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "jittor_ipl", "generate", "--network", "demo:generator", "--seeds", "0",
                        "--outdir", folder], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"seconds": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def driver() -> dict[str, float]:
    """Return what the command does for each picture of a task: fetch it, look at its hash, record it."""
    from jittor_ipl.disk.integrity import canonical, file_sha256
    from jittor_ipl.disk.objects import ObjectStore
    from jittor_ipl.jobs.engine import NodeTask
    from jittor_ipl.jobs.nodes import collect
    with tempfile.TemporaryDirectory() as folder:
        store, random, files = ObjectStore(f"{folder}/store"), np.random.default_rng(0), {}
        for number in range(PICTURES):
            path = Path(folder, f"{number}.png")
            path.write_bytes(random.bytes(1 << 17))
            files[f"pictures/{number}.png"] = {"sha256": store.put(path), "size": 1 << 17}
        task = NodeTask("block", "0" * 64, None, outputs={"pictures": f"{folder}/here"})
        began = time.process_time()
        collect(store, {"files": files}, task)
        record = {name: file_sha256(Path(folder, "here", Path(name).name)) for name in files}
        text = canonical({"files": record, "pixels": record})
        return {"seconds": (time.process_time() - began) / PICTURES, "bytes of its record": len(text) / PICTURES}


def image(size: int) -> dict[str, float]:
    """Return the cost and the file's bytes of one picture."""
    from jittor_ipl.images.files import save_png
    from jittor_ipl.images.pixels import to_uint8
    from jittor_ipl.models.stylegan2.config import GeneratorConfig
    from jittor_ipl.models.stylegan2.generator import Generator
    from jittor_ipl.models.stylegan2.pictures import pictures
    from jittor_ipl.runtime.streams import z_from_seeds
    generator = Generator(GeneratorConfig(size), np.random.default_rng(0))
    to_uint8(pictures(generator, z_from_seeds([0], generator.style_dim), 1))
    began = time.process_time()
    made = to_uint8(pictures(generator, z_from_seeds([1, 2], generator.style_dim), 1))
    drawn = (time.process_time() - began) / 2
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "one.png")
        save_png(path, made[0])
        return {"size": size, "seconds": drawn, "seconds of its file": (time.process_time() - began) / 2 - drawn,
                "bytes": path.stat().st_size}


def steps(size: int) -> dict[str, float]:
    """Return the cost of the second step of either stage: the first one compiles its kernels."""
    from memory import write_random_networks

    from jittor_ipl.adaptation.adapt import adapt_style
    from jittor_ipl.config import load_suite
    with tempfile.TemporaryDirectory() as name:
        folder, clock = Path(name), []
        write_random_networks(folder, size)
        suite = load_suite(ROOT / "configs" / "ffhq.yaml", [
            f"source.generator={folder}/generator.safetensors", f"clip.0.model={folder}/clip.safetensors",
            "mapper.steps=2", "generator.steps=2", "run={samples: 0, log_every: 1, tensorboard: false}",
            "styles=[disney]"])
        adapt_style(suite.runs()[0], folder / "run", watch=lambda *_: clock.append(time.process_time()))
        weights = (folder / "run" / "generator.safetensors").stat().st_size
    return {"size": size, "stage 1": clock[1] - clock[0], "stage 2": clock[3] - clock[2], "bytes of a style": weights}


def main() -> None:
    """Measure the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=["start", "driver", "image", "steps"])
    parser.add_argument("--size", type=int, default=256, choices=[256, 512, 1024], help="px")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    ways: dict[str, Callable[[], dict[str, float]]] = {
        "start": start, "driver": driver, "image": lambda: image(given.size), "steps": lambda: steps(given.size)}
    for part in given.parts:
        print(json.dumps({"part": part, **{name: float(f"{value:.4g}") for name, value in ways[part]().items()}}),
              flush=True)


if __name__ == "__main__":
    main()

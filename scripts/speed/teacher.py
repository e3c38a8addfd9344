"""Time and peak memory of a real-size teacher on the CPU, as JSON lines: random weights, nothing to download.

    python scripts/speed/teacher.py --list
    python scripts/speed/teacher.py redraw dds --limit 16
    python scripts/speed/teacher.py dds --size 1024 --batch 1

Stable Diffusion 2.1 in float32 teaches a StyleGAN2 config-f of --size px. Every case runs in a process of its own that
holds all that a training holds: both generators and the teacher's three networks. Seconds are of the first run, which
compiles nothing that an earlier run of the same machine has compiled. 1 when a peak is over --limit GiB.
"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2]), str(Path(__file__).resolve().parent)]

CASES = {"redraw": "--batch pictures into the noise and back, with guidance: 3 rows of the U-Net a picture and step",
         "dds": "one step of training by delta scores: --batch pictures, 4 rows each, decoder, backward pass, Adam"}


def random_teacher(scale: str):
    """Return a teacher of random weights with OpenAI's words."""
    from diffusion import networks

    from jittor_ipl.diffusion.teacher import DiffusionTeacher
    from jittor_ipl.text.tokenizer import tokenizer
    from jittor_ipl.weights.diffusion import LatentDiffusion
    from jittor_ipl.weights.pipeline import Scheduler
    schedule = Scheduler("DDIMScheduler", 1000, .00085, .012, "scaled_linear", "v_prediction")
    return DiffusionTeacher(LatentDiffusion(*networks(scale), tokenizer(), schedule, "0" * 64))


def prepared(case: str, scale: str, size: int, batch: int, steps: int) -> Callable[[], object]:
    """Return what is timed."""
    from jittor_ipl.adaptation.draws import Draws
    from jittor_ipl.adaptation.lessons import ScoreLesson
    from jittor_ipl.adaptation.stage2 import train_generator
    from jittor_ipl.config.sections import GeneratorTraining, Losses
    from jittor_ipl.config.teacher import Teacher
    from jittor_ipl.models.stylegan2.config import GeneratorConfig
    from jittor_ipl.models.stylegan2.generator import Generator
    from jittor_ipl.models.stylegan2.pictures import pictures
    source, target = (Generator(GeneratorConfig(size), np.random.default_rng(0)) for _ in range(2))
    teacher = random_teacher(scale)
    z = np.random.default_rng(1).standard_normal((batch, source.style_dim)).astype(np.float32)
    before = np.clip(pictures(source, z), -1, 1)

    def words(seen: np.ndarray) -> tuple[list[str], list[str]]:
        return ["a photo of a person"] * len(seen), ["a painting of a person"] * len(seen)

    def redraw() -> None:
        teacher.redraw(before, *words(before), steps=steps)

    def dds() -> None:
        settings = GeneratorTraining(steps=1, batch=batch, layers="all", lr=0.002)
        told = Teacher.model_validate({"ways": ["dds"], "scores": {"batch": batch}})
        train_generator(source, target, [], settings, Losses(), seed=0, draws=Draws(0, source, settings),
                        lesson=ScoreLesson("dds", teacher, source, words, told, 0))
    print(json.dumps({"rows_at_once": teacher.rows, "told_gib": round(teacher.bytes / 2**30, 2)}), flush=True)
    return {"redraw": redraw, "dds": dds}[case]


def measure(call: Callable[[], object]) -> dict:
    """Return seconds and the peak of resident memory of one run."""
    from diffusion import gib
    Path("/proc/self/clear_refs").write_text("5")       # the peak from here on, not that of the loading
    loaded, wall, cpu = gib("VmRSS"), time.perf_counter(), time.process_time()
    call()
    return {"wall_s": round(time.perf_counter() - wall, 1), "cpu_s": round(time.process_time() - cpu, 1),
            "loaded_gib": loaded, "peak_gib": gib("VmHWM")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help="see --list; all of them when none is named")
    parser.add_argument("--list", action="store_true", help="print the cases")
    parser.add_argument("--scale", choices=["real", "half", "small"], default="real", help="of the teacher's networks")
    parser.add_argument("--size", type=int, default=256, help="of the generator in pixels")
    parser.add_argument("--batch", type=int, default=1, help="pictures")
    parser.add_argument("--steps", type=int, default=10, help="of the inversion and of the way back")
    parser.add_argument("--limit", type=float, default=16.0, help="GiB")
    parser.add_argument("--here", action="store_true", help="run in this process (what each case's own process does)")
    options = parser.parse_args()
    cases = options.cases or list(CASES)
    if unknown := [case for case in cases if case not in CASES]:
        parser.error(f"unknown case {unknown[0]!r}; choose from {', '.join(CASES)}")
    if options.list:
        print("\n".join(f"{name}: {what}" for name, what in CASES.items()))
        return 0
    numbers = {name: getattr(options, name) for name in ("scale", "size", "batch", "steps")}
    if options.here:
        result = measure(prepared(cases[0], **numbers))
        within = result["peak_gib"] <= options.limit
        print(json.dumps({"case": cases[0], **result, "within": within}), flush=True)
        return 0 if within else 1
    threads = os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    print(json.dumps({**numbers, "threads": int(threads)}), flush=True)
    switches = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    return max(subprocess.call([sys.executable, __file__, "--here", case, *switches, "--limit", str(options.limit)])
               for case in cases)


if __name__ == "__main__":
    sys.exit(main())

"""Step times and peak memory of stage 1 and stage 2 for named shapes, as JSON; random weights, nothing to download.

    python scripts/speed/training.py                 both stages at the demo's size
    python scripts/speed/training.py stage2:demo stage2:demo-3
"""
from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jittor_ipl.adaptation.directions import Prompts  # noqa: E402
from jittor_ipl.adaptation.listeners import listen  # noqa: E402
from jittor_ipl.adaptation.stage1 import train_mapper  # noqa: E402
from jittor_ipl.adaptation.stage2 import train_generator  # noqa: E402
from jittor_ipl.config.sections import GeneratorTraining, Losses, MapperTraining  # noqa: E402
from jittor_ipl.models.clip.config import ClipConfig  # noqa: E402
from jittor_ipl.models.clip.model import Clip  # noqa: E402
from jittor_ipl.models.mappers import PromptMapper  # noqa: E402
from jittor_ipl.models.stylegan2.config import GeneratorConfig  # noqa: E402
from jittor_ipl.models.stylegan2.generator import Generator  # noqa: E402
from jittor_ipl.text.tokenizer import class_prompts  # noqa: E402
from jittor_ipl.train.state import Loop  # noqa: E402

TEXT = dict(embed_dim=96, transformer_width=96, transformer_heads=4, transformer_layers=3)
RESNET = dict(image_resolution=64, vision_layers=(2, 2, 2, 2), vision_width=16, norm="group")
VIT = dict(image_resolution=64, vision_layers=4, vision_width=128, vision_patch_size=8)
CHANNELS = {4: 128, 8: 128, 16: 80, 32: 48, 64: 32}
# name -> image towers, batch of stage 2
SHAPES = {"demo": ((RESNET,), 4), "demo-2": ((RESNET, VIT), 4), "demo-3": ((RESNET, RESNET, VIT), 4)}


def _networks(shape: str):
    towers, batch = SHAPES[shape]
    clips = [Clip(ClipConfig(**TEXT, **tower)).initialise(np.random.default_rng(i)) for i, tower in enumerate(towers)]
    config = GeneratorConfig(64, 64, channels=CHANNELS)
    return (lambda: Generator(config)), [listen(c, 1.0, "photo", "disney") for c in clips], batch


def _timed(name: str, run, steps: int) -> dict:
    """Call `run(hook)`; the first step compiles kernels and stands apart. On a busy machine CPU seconds tell more."""
    times = [(time.perf_counter(), time.process_time())]
    run(lambda *_: times.append((time.perf_counter(), time.process_time())))
    wall, cpu = np.diff(np.array(times), axis=0).T
    return {"case": name, "first_step_s": round(float(wall[0]), 3), "step_s": round(float(np.median(wall[1:])), 4),
            "step_cpu_s": round(float(np.median(cpu[1:])), 4), "steps": steps,
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def measure_stage1(shape: str = "demo", steps: int = 8, batch: int = 16) -> dict:
    """Time stage 1 steps: the prompt mapper on the first CLIP of `shape`."""
    build, listeners, _ = _networks(shape)
    clip = listeners[0].clip
    prompts = Prompts(clip, *(class_prompts(name, "a photo of a") for name in ("photo", "disney")))
    mapper = PromptMapper(64, 4, TEXT["transformer_width"])
    return _timed(f"stage1:{shape}", lambda hook: train_mapper(
        build(), mapper, prompts, listeners[0], MapperTraining(steps=steps, batch=batch), seed=0,
        loop=Loop(on_step=hook)), steps)


def run_stage2(shape: str, steps: int, hook) -> None:
    """Run stage 2: all layers of the generator, one random view, all CLIPs of `shape`."""
    build, listeners, batch = _networks(shape)
    settings = GeneratorTraining(steps=steps, batch=batch, layers="all", train=["convs", "rgb", "const"], views=1,
                                 noise="const", direction_floor=0.5)
    train_generator(build(), build(), listeners, settings, Losses(**{"global": 0.5, "range": 1.0}), seed=0,
                    loop=Loop(on_step=hook))


def measure_stage2(shape: str = "demo", steps: int = 8) -> dict:
    """Time the steps of stage 2."""
    return _timed(f"stage2:{shape}", lambda hook: run_stage2(shape, steps, hook), steps)


CASES = {"stage1": measure_stage1, "stage2": measure_stage2}


def main(asked: list[str]) -> None:
    """Run the asked cases, `<stage>:<shape>`, and print one JSON object each."""
    for case in asked or ["stage1:demo", "stage2:demo"]:
        stage, _, shape = case.partition(":")
        print(json.dumps(CASES[stage](shape or "demo")), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Step times and peak memory of stage 1 and stage 2 for named shapes, as JSON; random weights, nothing to download.

    python scripts/speed/training.py                 both stages at the demo's size
    python scripts/speed/training.py stage2:demo stage2:demo-3
    python scripts/speed/training.py stage2:ffhq-256           configs/ffhq.yaml with a generator of 256 px

`python scripts/speed/generation.py` gives each its own process, and times the official code beside the ffhq shapes.
"""
from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from generation import chosen_layers

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
VIT_B_32 = dict(embed_dim=512, image_resolution=224, vision_layers=12, vision_width=768, vision_patch_size=32,
                transformer_width=512, transformer_heads=8, transformer_layers=12)
DEMO = GeneratorConfig(64, 64, channels=CHANNELS)


@dataclass(frozen=True)
class Shape:
    """What is trained: the generator's numbers, the CLIPs', the batches of both stages, and the settings of stage 2."""

    generator: GeneratorConfig
    clips: tuple[dict, ...]
    batches: tuple[int, int]
    stage2: dict = field(default_factory=lambda: dict(layers="all", train=["convs", "rgb", "const"], views=1,
                                                      noise="const", direction_floor=0.5))
    losses: dict = field(default_factory=lambda: {"global": 0.5, "range": 1.0})
    prompts: bool = False       # stage 2 follows the prompts of each image, as IPL does


def _ffhq(size: int) -> Shape:
    """The numbers of configs/ffhq.yaml, but for stage 1's batch, 4 in place of 32: the official code needs a step."""
    stage2 = dict(layers="auto", auto_layers_k=chosen_layers(size), train=["convs", "rgb", "noise"])
    return Shape(GeneratorConfig(size), (VIT_B_32,), (4, 2), stage2, {}, prompts=True)


SHAPES: dict[str, Shape] = {
    "demo": Shape(DEMO, (TEXT | RESNET,), (16, 4)), "demo-2": Shape(DEMO, (TEXT | RESNET, TEXT | VIT), (16, 4)),
    "demo-3": Shape(DEMO, (TEXT | RESNET, TEXT | RESNET, TEXT | VIT), (16, 4)), "ffhq-256": _ffhq(256),
    "ffhq-1024": _ffhq(1024)}


def _listeners(shape: Shape) -> list:
    clips = [Clip(ClipConfig(**numbers)).initialise(np.random.default_rng(i)) for i, numbers in enumerate(shape.clips)]
    return [listen(clip, 1.0, "photo", "disney") for clip in clips]


def _prompts(shape: Shape, clip: Clip) -> tuple[Prompts, PromptMapper]:
    prompts = Prompts(clip, *(class_prompts(name, "a photo of a") for name in ("photo", "disney")))
    return prompts, PromptMapper(shape.generator.style_dim, 4, clip.settings.transformer_width)


def _timed(name: str, run, steps: int) -> dict:
    """Call `run(hook)`; the first step compiles kernels and stands apart. On a busy machine CPU seconds tell more."""
    times = [(time.perf_counter(), time.process_time())]
    run(lambda *_: times.append((time.perf_counter(), time.process_time())))
    wall, cpu = np.diff(np.array(times), axis=0).T
    return {"case": name, "first_s": round(float(wall[0]), 3), "wall_s": round(float(np.median(wall[1:])), 4),
            "cpu_s": round(float(np.median(cpu[1:])), 4), "steps": steps,
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


def measure_stage1(name: str = "demo", steps: int = 8) -> dict:
    """Time stage 1 steps: the prompt mapper on the first CLIP of a shape."""
    shape, (listener, *_) = SHAPES[name], _listeners(SHAPES[name])
    prompts, mapper = _prompts(shape, listener.clip)
    return _timed(f"stage1:{name}", lambda hook: train_mapper(
        Generator(shape.generator), mapper, prompts, listener, MapperTraining(steps=steps, batch=shape.batches[0]),
        seed=0, loop=Loop(on_step=hook)), steps)


def run_stage2(name: str, steps: int, hook) -> None:
    """Run stage 2 with the settings and all CLIPs of a shape."""
    shape, listeners = SHAPES[name], _listeners(SHAPES[name])
    settings = GeneratorTraining(steps=steps, batch=shape.batches[1], **shape.stage2)
    prompts, mapper = _prompts(shape, listeners[0].clip) if shape.prompts else (None, None)
    source = Generator(shape.generator)
    train_generator(source, source.copy(), listeners, settings, Losses(**shape.losses), seed=0, prompts=prompts,
                    mapper=mapper, loop=Loop(on_step=hook))


def measure_stage2(name: str = "demo", steps: int = 8) -> dict:
    """Time the steps of stage 2."""
    return _timed(f"stage2:{name}", lambda hook: run_stage2(name, steps, hook), steps)


CASES = {"stage1": measure_stage1, "stage2": measure_stage2}


def main(asked: list[str]) -> None:
    """Run the asked cases, `<stage>:<shape>`, and print one JSON object each."""
    for case in asked or ["stage1:demo", "stage2:demo"]:
        stage, _, shape = case.partition(":")
        print(json.dumps(CASES[stage](shape or "demo")), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

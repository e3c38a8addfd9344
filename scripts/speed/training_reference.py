"""What scripts/speed/generation.py measures at real sizes, done by the official IPL code on PyTorch's CPU.

    python generation.py --reference-python PYTHON --official CHECKOUT     it runs this itself

CHECKOUT is a clone of the code of the IPL paper; nothing of it is changed. It is written for one GPU: here its device
is the CPU, where its operators take the forms in plain PyTorch that it has for it, and CLIP gets random weights of
ViT-B/32. Steps are told apart by the bar that its loops draw.
"""
from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType

import generation as ours
import numpy as np
import packaging.version
import torch
import torch.utils.cpp_extension


class Enough(Exception):
    """Raised where a loop of the official code has taken the steps that are timed."""


def on_the_cpu() -> None:
    """Let the official code, which names CUDA in many places, run on the CPU."""
    # A torchvision that was built for another PyTorch lacks operators without which it cannot be imported.
    on_the_cpu.operators = torch.library.Library("torchvision", "DEF")      # they last as long as this does
    for name in ("nms", "qnms"):
        on_the_cpu.operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torch.utils.cpp_extension.load = lambda *_, **__: None        # its CUDA operators; on a CPU it calls plain ones
    moved, load = torch.nn.Module.to, torch.load
    torch.load = lambda file, **_: load(file, map_location="cpu")
    torch.nn.Module.to = lambda self, device, *_, **__: moved(self, "cpu")
    torch.Tensor.cuda = lambda self, *_, **__: self


def random_clip(name: str, **_: object) -> tuple[torch.nn.Module, Callable]:
    """Return a CLIP of OpenAI's package with random weights, and its way to prepare pictures, as `clip.load` does.

    It replaces `clip.load`; the ResNet-50 that the official code also loads is one of ViT-B/32 here: nothing uses it.
    """
    from clip.clip import _transform
    from clip.model import CLIP
    return CLIP(512, 224, 12, 768, 32, 77, 49408, 512, 8, 12).float().eval(), _transform(224)


def encoded(prompts: torch.Tensor, tokens: torch.Tensor, clip: torch.nn.Module) -> torch.Tensor:
    """Return text features [B, n, d] of prompts [B, n, 77, width], as `text_encoder` of the official code does.

    That one writes its results over its input, which in float32 autograd refuses; the arithmetic is the same.
    """
    x = (prompts + clip.positional_embedding).permute(0, 2, 1, 3)
    x = clip.ln_final(torch.stack([clip.transformer(one) for one in x]).permute(0, 2, 1, 3))
    return x[:, torch.arange(x.shape[1]), tokens.argmax(dim=-1)] @ clip.text_projection


def official(checkout: Path) -> ModuleType:
    """Return the module `train` of the official code."""
    on_the_cpu()
    sys.path.insert(0, str(checkout))
    sys.modules["pkg_resources"] = ModuleType("pkg_resources")      # of CLIP's package; newer environments have none
    sys.modules["pkg_resources"].packaging = packaging
    import clip
    clip.load = random_clip
    import train
    train.device, train.save_images, train.text_encoder = "cpu", lambda *_, **__: None, encoded
    return train


def write_generator(size: int, path: Path) -> None:
    """Write a StyleGAN2 config-f with random weights as the official code reads it."""
    from model.sg2_model import Generator
    torch.manual_seed(0)
    torch.save({"g_ema": Generator(size, 512, 8, channel_multiplier=2).state_dict()}, path)


def arguments_of(stage: str, size: int, batch: int, folder: Path) -> argparse.Namespace:
    """Return the options of the official example, with `size` and `batch` in place of its own."""
    from options.train_options import TrainOptions
    file = str(folder / "generator.pt")
    sys.argv = ["train.py", "--frozen_gen_ckpt", file, "--train_gen_ckpt", file, "--source_class", "photo",
                "--target_class", "disney", "--lr_mapper", "0.05", "--ctx_init", "a photo of a", "--n_ctx", "4",
                "--lambda_l", "1", "--lr", "0.002", "--batch", str(batch), "--batch_mapper", str(batch),
                "--size", str(size), "--auto_layer_k", str(ours.chosen_layers(size)), "--output_dir",
                str(folder / "out"), "--clip_models", "ViT-B/32", "--clip_model_weights", "1.0"]
    args = TrainOptions().parse()
    args.run_stage1, args.run_stage2 = True, stage == "stage2"
    return args


def timed_steps(train: ModuleType, args: argparse.Namespace, stage: str, steps: int) -> list[tuple[float, float]]:
    """Run the official training and return wall and CPU seconds of each step of a stage but the first."""
    marks: list[tuple[float, float]] = []

    def bar(numbers: range) -> Iterator[int]:
        if stage == "stage2" and not marks and bar.first:      # stage 1 comes first, and one step of it will do
            bar.first = False
            yield from list(numbers)[:1]
            return
        for number in list(numbers)[:steps + 2]:
            marks.append((time.perf_counter(), time.process_time()))
            yield number
        raise Enough

    bar.first, train.tqdm = True, bar
    with suppress(Enough):
        train.train(args)
    return [tuple(float(b - a) for a, b in zip(*pair)) for pair in zip(marks[1:], marks[2:])]


def measure(case: str, size: int, batch: int, steps: int, checkout: Path) -> dict:
    """Return the times of a case, as ours does."""
    train = official(checkout)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_generator(size, folder / "generator.pt")
        if case != "generate":
            times = timed_steps(train, arguments_of(case, size, batch, folder), case, steps)
            wall, cpu = np.median(np.array(times), axis=0)
        else:
            from model.ZSSGAN import SG2Generator
            generator = SG2Generator(folder / "generator.pt", img_size=size, device="cpu").eval()
            z = torch.randn(batch, 512)

            @torch.no_grad()
            def draw() -> None:
                generator([z])

            ours.timed(draw)
            wall, cpu = min(ours.timed(draw) for _ in range(steps))
    return {"wall_s": round(float(wall), 3), "cpu_s": round(float(cpu), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("case")
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--official", type=Path, required=True)
    options = parser.parse_args()
    result = measure(options.case, options.size, options.batch, options.steps, options.official.resolve())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"case": options.case, "by": f"official, PyTorch {torch.__version__}", **result,
                      "peak_memory_mib": memory}), flush=True)


if __name__ == "__main__":
    main()

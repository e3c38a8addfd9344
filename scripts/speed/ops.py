"""Time every operator against its reference and against the floor of this machine, as JSON lines.

    python scripts/speed/ops.py [--threads N] [--repeats N]

`floor_ms` is the time that the bytes moved need at the measured copy speed, or that the multiplications need at the
measured speed of one large matrix product, whichever is longer. `kernel_ms` close to it leaves nothing to gain.
"""
from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


@dataclass
class Case:
    """One operator at one size: what to call, the inputs, the bytes it must move and the multiplications it must do."""

    name: str
    kernel: Callable
    reference: Callable | None
    inputs: list
    megabytes: float
    gigaflops: float = 0.0


def best_ms(call: Callable, repeats: int) -> float:
    """Return the shortest of `repeats` runs in milliseconds, after one run that compiles."""
    def run() -> float:
        start = time.perf_counter()
        result = call()
        for var in result if isinstance(result, list) else [result]:
            var.sync()
        return time.perf_counter() - start

    run()
    return min(run() for _ in range(repeats)) * 1e3


def cases(jt) -> list[Case]:
    """The sizes that config-f at 256 px, CLIP ViT-B/32 with 64 views and Stable Diffusion at 512 px meet."""
    from jittor_ipl.ops import attention, bias_act, bmm, group_norm, norms, resize, upfirdn2d
    random = np.random.RandomState(0)

    def draw(*shape: int):
        var = jt.array(random.randn(*shape).astype(np.float32))
        var.sync()
        return var

    blur = jt.array((np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64).astype(np.float32))
    x, bias = draw(4, 128, 128, 128), draw(128)
    size = x.numel() * 4e-6
    a, b = draw(768, 50, 64), draw(768, 50, 64)
    scores, tokens, width = draw(768, 50, 50), draw(64, 50, 768), draw(768)
    image, latents, pixels, channel = draw(2, 3, 1024, 1024), draw(2, 320, 64, 64), draw(2, 4096, 320), draw(320)

    def resampled(function, up, down, pad):
        return lambda v: function(v, blur, up, down, pad)

    found = [Case("bias_act", bias_act.bias_act, bias_act.bias_act_reference, [x, bias], 2 * size)]
    for name, up, down, pad, scale in (("blur", 1, 1, (2, 1), 2), ("up", 2, 1, (2, 1), 5),
                                       ("down", 1, 2, (1, 1), 1.25)):
        found.append(Case(f"upfirdn2d {name}", resampled(upfirdn2d.upfirdn2d, up, down, pad),
                          resampled(upfirdn2d.upfirdn2d_reference, up, down, pad), [x], scale * size))
    found += [
        Case("bmm a b^T", lambda p, q: bmm.bmm(p, q, True), jt.nn.bmm_transpose, [a, b],
             (a.numel() + b.numel() + scores.numel()) * 4e-6, 2 * 768 * 50 * 50 * 64 * 1e-9),
        Case("softmax", attention.softmax, attention.softmax_reference, [scores], scores.numel() * 8e-6),
        Case("layer_norm", norms.layer_norm, norms.layer_norm_reference, [tokens, width, width], tokens.numel() * 8e-6),
        Case("attention 4096", lambda q, k, v: attention.attention(q, k, v, 5),
             lambda q, k, v: attention.attention_reference(q, k, v, 5), [pixels] * 3, pixels.numel() * 16e-6,
             4 * 2 * 4096 * 4096 * 320 * 1e-9),
        Case("group_norm silu", lambda x, w, b: group_norm.group_norm(x, 32, w, b, silu=True),
             lambda x, w, b: norms.group_norm_reference(x, 32, w, b, silu=True), [latents, channel, channel],
             latents.numel() * 8e-6),
        Case("resize 1024->224", lambda v: resize.resize(v, 224), None, [image], image.numel() * 4e-6),
        Case("resize antialias", lambda v: resize.resize(v, 224, antialias=True), None, [image], image.numel() * 4e-6),
    ]
    return found


def floors(jt, repeats: int) -> tuple[float, float]:
    """Return this machine's copy speed in MB/ms and its matrix product in GFLOP/ms."""
    big, square = jt.ones((64, 1024, 256)), jt.ones((1536, 1536))
    big.sync()
    square.sync()
    copy = big.numel() * 8e-6 / best_ms(lambda: big * 1.5, repeats)
    return copy, 2 * 1536**3 * 1e-9 / best_ms(lambda: jt.matmul(square, square), repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from jittor_ipl.runtime.backend import jt
    from jittor_ipl.runtime.device import fingerprint

    copy, product = floors(jt, options.repeats)
    print(json.dumps({"machine": fingerprint(), "threads": options.threads, "copy_GB_per_s": round(copy, 1),
                      "product_GFLOP_per_s": round(product * 1e3, 1)}), flush=True)
    for case in cases(jt):
        call = case.kernel

        def backward() -> list:
            return jt.grad((call(*case.inputs) ** 2).sum(), case.inputs)

        row = {"op": case.name, "kernel_ms": best_ms(lambda: call(*case.inputs), options.repeats),
               "reference_ms": case.reference and best_ms(lambda: case.reference(*case.inputs), options.repeats),
               "floor_ms": max(case.megabytes / copy, case.gigaflops / product),
               "forward_backward_ms": best_ms(backward, options.repeats)}
        print(json.dumps({key: round(value, 3) if isinstance(value, float) else value for key, value in row.items()}),
              flush=True)


if __name__ == "__main__":
    main()

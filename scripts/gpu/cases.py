"""What gpu_check.sh computes on one device, in a process of its own: JITTOR_IPL_DEVICE says on which.

    python scripts/gpu/cases.py numbers FILE     operators, networks and gradients on fixed inputs, into FILE (.npz)
    python scripts/gpu/cases.py speed [--quick]  milliseconds of the steps that torch_steps.py times, too, as JSON
"""
from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jittor_ipl.models.clip.config import ClipConfig  # noqa: E402
from jittor_ipl.models.clip.model import Clip  # noqa: E402
from jittor_ipl.models.stylegan2.config import GeneratorConfig  # noqa: E402
from jittor_ipl.models.stylegan2.generator import Generator  # noqa: E402
from jittor_ipl.ops import attention, bias_act, bmm, conv, geglu, group_norm, linear, norms, pool, resize  # noqa: E402
from jittor_ipl.ops.modconv import modulated_conv2d  # noqa: E402
from jittor_ipl.ops.upfirdn2d import upfirdn2d  # noqa: E402
from jittor_ipl.runtime.backend import jt  # noqa: E402
from jittor_ipl.weights.clip import load_clip  # noqa: E402
from jittor_ipl.weights.diffusion import load_diffusion  # noqa: E402
from jittor_ipl.weights.generator import load_generator  # noqa: E402

BLUR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 16
# name -> operator, shapes of its inputs
OPERATORS: dict[str, tuple[Callable, list[tuple[int, ...]]]] = {
    "bias and leaky ReLU": (bias_act.bias_act, [(3, 5, 33, 31), (5,)]),
    "batched product": (bmm.bmm, [(6, 50, 67), (6, 67, 33)]),
    "softmax": (attention.softmax, [(7, 301)]),
    "attention": (lambda *x: attention.attention(*x, 5), [(2, 77, 40)] * 3),
    "attention in slices": (lambda *x: attention.attention(*x, 8), [(1, 1100, 64)] * 3),
    "GEGLU": (geglu.geglu, [(33, 254)]),
    "layer norm": (norms.layer_norm, [(35, 301), (301,), (301,)]),
    "group norm and SiLU": (lambda x, w, b: group_norm.group_norm(x, 4, w, b, silu=True),
                            [(2, 12, 33, 31), (12,), (12,)]),
    "linear": (linear.linear, [(5, 301), (67, 301)]),
    "convolution": (lambda x, w: conv.conv2d(x, w, padding=1), [(2, 17, 33, 31), (9, 17, 3, 3)]),
    "transposed convolution": (lambda x, w: conv.conv_transpose2d(x, w, 2), [(2, 17, 15, 13), (17, 9, 3, 3)]),
    "modulated convolution": (modulated_conv2d, [(2, 17, 16, 16), (9, 17, 3, 3), (2, 17)]),
    "modulated, upsampled": (lambda x, w, s: modulated_conv2d(x, w, s, True, jt.array(BLUR)),
                             [(2, 17, 16, 16), (9, 17, 3, 3), (2, 17)]),
    "blur": (lambda x: upfirdn2d(x, jt.array(BLUR), pad=(2, 1)), [(2, 5, 33, 31)]),
    "resize": (lambda x: resize.resize(x, (17, 40), "bicubic", True), [(2, 3, 33, 31)]),
    "pool": (lambda x: pool.max_pool(x, 3, 2, 1), [(2, 5, 33, 31)]),
}


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.RandomState(seed).randn(*shape).astype(np.float32)


def operators() -> dict[str, np.ndarray]:
    """Return value and gradients of every operator, "name/value" and "name/d0"."""
    results = {}
    for name, (operator, shapes) in OPERATORS.items():
        inputs = [jt.array(draw(*shape, seed=seed)) for seed, shape in enumerate(shapes)]
        y = operator(*inputs)
        gradients = jt.grad((y * y * jt.array(draw(*y.shape, seed=9))).sum(), inputs)
        results |= {f"{name}/value": y.numpy(), **{f"{name}/d{n}": g.numpy() for n, g in enumerate(gradients)}}
    return results


def networks() -> dict[str, np.ndarray]:
    """Return what the demo's networks make of fixed inputs, and gradients through two of them."""
    generator, clip, diffusion = load_generator("demo:generator"), load_clip("demo:clip-local"), load_diffusion(
        "demo:diffusion")
    w = generator.mapping(jt.array(draw(2, generator.config.style_dim)))
    w = w.clone().start_grad()
    picture = generator.synthesis(w)
    side = clip.config()["image_resolution"]
    features = clip.encode_image(resize.resize(picture, side))
    gradient = jt.grad((features * jt.array(draw(*features.shape, seed=1))).sum(), w)
    unet = diffusion.unet
    x = jt.array(draw(2, unet.config.in_channels, 8, 8, seed=2))
    context = jt.array(draw(2, 7, unet.config.cross_attention_dim[0], seed=3))
    with jt.no_grad():
        noise = unet(x, jt.array(np.float32([900, 30])), context)
    return {"generator's picture/value": picture.numpy(), "CLIP's features/value": features.numpy(),
            "gradient to w/d0": gradient.numpy(), "U-Net/value": noise.numpy()}


def generator_step(size: int, batch: int) -> Callable[[], None]:
    """Return a step of StyleGAN2 config-f of `size` px: pictures of w, and gradients of all weights."""
    generator = Generator(GeneratorConfig(size, 512))
    w = jt.array(draw(batch, 512)).stop_grad()
    weights = list(generator.trainable().values())

    def step() -> None:
        y = generator.synthesis(w)
        jt.sync(jt.grad((y * y).sum(), weights), True)

    return step


def clip_step(batch: int) -> Callable[[], None]:
    """Return a step through the picture tower of a ViT-B/32, and back to the pictures."""
    clip = Clip(ClipConfig(embed_dim=512, image_resolution=224, vision_layers=12, vision_width=768,
                           vision_patch_size=32, transformer_width=64, transformer_heads=1, transformer_layers=1))
    clip.initialise(np.random.default_rng(0))
    pictures = jt.array(draw(batch, 3, 224, 224))

    def step() -> None:
        y = clip.encode_image(pictures)
        jt.sync([jt.grad((y * y).sum(), pictures)], True)

    return step


def milliseconds(step: Callable[[], None], repeats: int) -> float:
    """Return the median of `repeats` steps after one that compiles."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        step()
        jt.sync_all(True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:]) * 1000


def main() -> None:
    if sys.argv[1] == "numbers":
        np.savez(sys.argv[2], **operators(), **networks())
        return
    quick = "--quick" in sys.argv
    size, batch, repeats = (64, 1, 1) if quick else (256, 4, 10)
    print(json.dumps({f"StyleGAN2, {size} px, batch {batch}": milliseconds(generator_step(size, batch), repeats),
                      f"ViT-B/32, batch {2 * batch}": milliseconds(clip_step(2 * batch), repeats)}))


if __name__ == "__main__":
    main()

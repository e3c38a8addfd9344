"""Latents that go along with a picture's own in one pass of the U-Net, and what its layers then make of all of them.

The methods that look at another picture (`style_id`, `style_aligned`) consist of nothing else: rows whose latents are
known at every level of noise, because DDIM's inversion found them, and a function in place of plain attention that
lets the last row look at the others. What an inversion leaves is a few latents; keys and values are computed again at
every step.
"""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.diffusion.samplers import Denoise, invert
from jittor_ipl.diffusion.schedule import Denoiser, to_exploding

if TYPE_CHECKING:
    from jittor_ipl.models.diffusion.blocks import CrossAttention
    from jittor_ipl.models.diffusion.unet import UNet
    from jittor_ipl.runtime.backend import jt, nn

Attend = Callable[["jt.Var", "jt.Var", "jt.Var", int], "jt.Var"]    # (q, k, v, heads), as ops.attention.attention


def inversion(denoise: Denoiser, latents: np.ndarray, sigmas: Sequence[float]) -> list[np.ndarray]:
    """Return x at every one of the falling `sigmas`, so that the last is `latents` [B, C, h, w] (scaled, clean)."""
    x = to_exploding(latents, sigmas[-1])
    return [x, *invert(denoise, x, sigmas)][::-1]


def beside(denoise: Denoise, paths: Iterable[Sequence[np.ndarray]], sigmas: Sequence[float]) -> Denoise:
    """Return a denoiser of x [1, C, h, w] that hands rows of the same noise to `denoise` before it.

    paths   for each companion x at every one of `sigmas`, as `inversion` returns it
    """
    paths = list(paths)

    def joined(x: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
        place = sigmas.index(sigma)
        clean, noise = denoise(np.concatenate([*(path[place] for path in paths), x]), sigma)
        return clean[-1:], noise[-1:]

    return joined


def self_attentions(unet: UNet, last: int | None = None) -> list[CrossAttention]:
    """Return the U-Net's self-attentions as they run, from first to last; with `last` so many of its way up's end."""
    found = [module for name, module in unet.named_modules() if name.endswith(".attn1")]
    up = [module for name, module in unet.named_modules() if name.startswith("up_blocks.") and name.endswith(".attn1")]
    return found if last is None else up[max(0, len(up) - last):]


@contextlib.contextmanager
def attending(modules: Sequence[CrossAttention], attend: Attend) -> Iterator[None]:
    """Let `attend` take the place of plain attention in `modules` while the `with` lasts."""
    with replaced(modules, "attend", lambda module: attend):
        yield


@contextlib.contextmanager
def replaced(modules: Sequence[nn.Module], name: str, make: Callable[[nn.Module], Callable]) -> Iterator[None]:
    """Let `make(module)` take the place of a method of each module's class while the `with` lasts."""
    assert not any(name in vars(module) for module in modules), f"{name} is replaced already"
    try:
        for module in modules:
            setattr(module, name, make(module))
        yield
    finally:
        for module in modules:
            vars(module).pop(name, None)

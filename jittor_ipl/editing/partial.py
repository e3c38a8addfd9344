"""A synthesis in steps: what lies below a changed layer is computed once, what lies above a resolution not at all."""
from __future__ import annotations

from collections.abc import Sequence

from jittor_ipl.models.stylegan2.config import resolutions
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt

State = tuple[jt.Var, jt.Var | None]        # what a styled convolution reads, and the picture so far


def start(generator: Generator) -> State:
    """Return what the first styled convolution reads: the constant [1, C, 4, 4], and no picture."""
    return generator.input.input, None


def advance(generator: Generator, step: int, state: State, styles: Sequence[jt.Var],
            noise: Sequence[jt.Var | None]) -> State:
    """Run styled convolution `step` (0 is conv1, 1 convs.0, ...) and the ToRGB behind it, where one stands there.

    styles: S codes [B or 1, C] in the order of `Generator.styles`; noise: one entry a styled convolution.
    """
    x, image = state
    convolution = generator.convs[step - 1] if step else generator.conv1
    x = convolution(x, styles[style_of(step)], noise[step])
    if step % 2 == 0:
        to_rgb, position = (generator.to_rgbs[step // 2 - 1], len(generator.convs) + 1 + step // 2) if step \
            else (generator.to_rgb1, 1)
        image = to_rgb(x, styles[position], image)
    return x, image


def style_of(step: int) -> int:
    """Return the position in `Generator.styles` of styled convolution `step`."""
    return step + 1 if step else 0


def steps_to(generator: Generator, side: int) -> int:
    """Return how many styled convolutions draw the picture of the first resolution that has `side` pixels or more.

    The picture of that resolution stands for the whole one: the levels above only add what is finer than a pixel of it.
    """
    levels = resolutions(generator.size)
    return 2 * next((i for i, level in enumerate(levels) if level >= side), len(levels) - 1) + 1


def picture_from(generator: Generator, step: int, state: State, styles: Sequence[jt.Var],
                 noise: Sequence[jt.Var | None], steps: int) -> jt.Var:
    """Return the pictures [B, 3, r, r] that styled convolutions `step` to `steps - 1` draw from `state`."""
    for at in range(step, steps):
        state = advance(generator, at, state, styles, noise)
    return state[1]

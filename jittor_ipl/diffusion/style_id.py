"""StyleID (Chung et al., CVPR 2024): a picture painted again in the style of another, without any training."""
from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.diffusion.attention_control import attending, beside, inversion, self_attentions
from jittor_ipl.diffusion.pipeline import check_size, decoded, encoded, predicted, text_states
from jittor_ipl.diffusion.samplers import euler, sampling_sigmas
from jittor_ipl.diffusion.schedule import Denoiser, noise_schedule, to_exploding, to_preserving
from jittor_ipl.images.pixels import to_uint8

if TYPE_CHECKING:
    from jittor_ipl.config.lora import StyleId
    from jittor_ipl.runtime.backend import jt
    from jittor_ipl.weights.diffusion import LatentDiffusion

EPS = 1e-4      # beside the deviation of a channel of latents


def restyle(model: LatentDiffusion, contents: Iterable[np.ndarray], style: np.ndarray, settings: StyleId,
            prompt: str = "") -> Iterator[np.ndarray]:
    """Yield for each content, [3, H, W] in [-1, 1], the picture uint8 [H, W, 3] in the style of `style` [1, 3, H, W].

    Both are inverted by DDIM; the sampling begins from the content's noise with the channel statistics of the style's
    (`adain`), and at every step the last layers ask with the content's queries for the style's keys and values. No
    random number is drawn. Raises UserError for a size that the model does not allow and values that are not finite.
    """
    check_size(model, style.shape[2:])
    schedule = noise_schedule(model.scheduler)
    sigmas = sampling_sigmas(schedule, "ddim", settings.steps)
    states = text_states(model, prompt)
    alone = Denoiser(schedule, partial(predicted, model, states))
    together = Denoiser(schedule, partial(predicted, model, states.broadcast([3, *states.shape[1:]])))
    attend = partial(style_attention, settings.gamma, settings.temperature)
    of_style = inversion(alone, encoded(model, style), sigmas)
    for content in contents:
        assert content.shape == style.shape[1:], (content.shape, style.shape)
        paths = [inversion(alone, encoded(model, content[None]), sigmas), of_style]
        x = to_exploding(adain(*(to_preserving(path[0], sigmas[0]) for path in paths)), sigmas[0])
        with attending(self_attentions(model.unet, settings.layers), attend):
            *_, x = euler(beside(together, paths, sigmas), x, sigmas)
        yield to_uint8(decoded(model, to_preserving(x, sigmas[-1]))[0])


def adain(x: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return x [B, C, h, w] with the mean and deviation over pixels that each channel of `like` has (Huang 2017)."""
    over = dict(axis=(2, 3), keepdims=True)
    whitened = (x - x.mean(**over)) / (x.std(ddof=1, **over) + np.float32(EPS))
    return whitened * like.std(ddof=1, **over) + like.mean(**over)


def style_attention(gamma: float, temperature: float, q: jt.Var, k: jt.Var, v: jt.Var, heads: int) -> jt.Var:
    """Attention of the rows content, style and own [3, n, width], in which the last asks with the content's queries and
    hears the style (equations 5 and 6); the first two are as without it.
    """
    from jittor_ipl.ops.attention import attention
    from jittor_ipl.runtime.backend import jt
    assert q.shape[0] == 3, q.shape
    mixed = (q[:1] * gamma + q[2:] * (1 - gamma)) * temperature
    return attention(jt.concat([q[:2], mixed]), jt.concat([k[:2], k[1:2]]), jt.concat([v[:2], v[1:2]]), heads)

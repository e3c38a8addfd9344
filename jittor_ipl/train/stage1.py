"""Stage 1 of IPL: train the prompt mapper, w -> image-specific prompt vectors (Guo et al. 2023, section 3.2)."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from jittor_ipl import losses
from jittor_ipl.models.prompt_mapper import PromptMapper
from jittor_ipl.models.stylegan2 import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.weights.strict import load_into, named_tensors

from .directions import Listener, Prompts
from .optim import Adam

State = dict[str, np.ndarray]
# Told after every step: steps done, the step's numbers, and a function that makes the state to resume from; True stops.
Hook = Callable[[int, dict[str, float], Callable[[], State]], object]


class MapperSettings(Protocol):
    """The numbers of stage 1 (the suite's `mapper:` section)."""

    steps: int
    batch: int
    lr: float
    lambda_domain: float
    lambda_source: float


def train_mapper(generator: Generator, mapper: PromptMapper, prompts: Prompts, listener: Listener,
                 settings: MapperSettings, *, seed: int, noise: str = "random", start: int = 0,
                 state: Mapping[str, np.ndarray] | None = None, on_step: Hook | None = None,
                 draw_z: Callable[[int], np.ndarray] | None = None) -> None:
    """Train `mapper` in place for `settings.steps` steps, or until `on_step` returns True.

    `prompts` and `listener` are of the same CLIP; the listener's template features anchor the domain loss. noise:
    "random" or "const" in the generated images. With `start` and the `state` a hook got after that many steps, the run
    goes on bit-identically on a CPU. `draw_z(step)` replaces the latents [batch, style_dim] of stream "mapper.z".
    Metrics: loss, contrastive, domain, source.
    """
    params = named_tensors(mapper)
    adam = Adam(params, settings.lr)
    if state is not None:
        load_into(mapper, _part(state, "mapper"), source="stage 1 state")
        adam.load_state(_part(state, "adam"))

    def snapshot() -> State:
        return {**{f"mapper/{name}": var.numpy() for name, var in params.items()},
                **{f"adam/{name}": value for name, value in adam.state().items()}}

    for step in range(start, settings.steps):
        # What the mapper is asked to describe: generated images and their features, outside the gradient.
        z = draw_z(step) if draw_z else rng(seed, "mapper.z", step).standard_normal(
            (settings.batch, generator.style_dim), np.float32)
        with jt.no_grad():
            w = generator.mapping(jt.array(z))
            drawn = generator.draw_noise(rng(seed, "mapper.noise", step), len(z)) if noise == "random" else noise
            images = listener.clip.image_features(generator.synthesis(w, drawn))                # [B, d]

        # Image-specific prompts must tell their images apart and stay near the classes' templates.
        source, target = prompts.features(mapper(w))                                            # [B, d] each
        terms = {"contrastive": losses.contrastive(images, source, listener.scale),
                 "domain": losses.domain(target, listener.target_text),
                 "source": losses.domain(source, listener.source_text)}
        loss = terms["contrastive"] + settings.lambda_domain * (terms["domain"] + settings.lambda_source * terms["source"])

        adam.step(dict(zip(params, jt.grad(loss, list(params.values())))))
        metrics = {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}}
        if on_step is not None and on_step(step + 1, metrics, snapshot):
            return


def _part(state: Mapping[str, np.ndarray], prefix: str) -> State:
    return {name.removeprefix(prefix + "/"): value for name, value in state.items() if name.startswith(prefix + "/")}

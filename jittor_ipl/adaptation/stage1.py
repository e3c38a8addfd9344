"""Stage 1 of IPL: train the prompt mapper, w -> image-specific prompt vectors (Guo et al. 2023, section 3.2)."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from jittor_ipl import losses
from jittor_ipl.adaptation.directions import Listener, Prompts
from jittor_ipl.models.mappers import Mapper
from jittor_ipl.models.strict import load_into, named_tensors
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.train.optim import Adam

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
    lambda_prompts: float
    replace_domain: bool
    mixing: float


def train_mapper(generator: Generator, mapper: Mapper, prompts: Prompts, listener: Listener,
                 settings: MapperSettings, *, seed: int, noise: str = "random", start: int = 0,
                 state: Mapping[str, np.ndarray] | None = None, on_step: Hook | None = None,
                 draw_z: Callable[[int], np.ndarray] | None = None, listed: jt.Var | None = None) -> None:
    """Train `mapper` in place for `settings.steps` steps, or until `on_step` returns True.

    `prompts` and `listener` are of the same CLIP; the listener's template features anchor the domain loss. noise:
    "random" or "const" in the generated images. With `start` and the `state` a hook got after that many steps, the run
    goes on bit-identically on a CPU. `draw_z(step)` replaces the latents [batch, style_dim] of stream "mapper.z".
    listed: the features [n, d] of the user's own prompts, needed when `settings.lambda_prompts` is not 0.
    Metrics: loss, contrastive, domain, source, and prompts where there are any.
    """
    assert listed is not None or not settings.lambda_prompts, "a weight for a list of prompts that is not there"
    params = named_tensors(mapper)
    adam = Adam(params, settings.lr)
    if state is not None:
        load_into(mapper, part_of(state, "mapper"), source="stage 1 state")
        adam.load_state(part_of(state, "adam"))

    def snapshot() -> State:
        return {**{f"mapper/{name}": var.numpy() for name, var in params.items()},
                **{f"adam/{name}": value for name, value in adam.state().items()}}

    for step in range(start, settings.steps):
        # What the mapper is asked to describe: generated images and their features, outside the gradient.
        z = draw_z(step) if draw_z else rng(seed, "mapper.z", step).standard_normal(
            (settings.batch, generator.style_dim), np.float32)
        with jt.no_grad():
            codes = w = generator.mapping(jt.array(z))
            chance = rng(seed, "mapper.mixing", step)
            if settings.mixing and chance.random() < settings.mixing:
                other = rng(seed, "mapper.z", step, 1).standard_normal(z.shape, np.float32)
                codes = generator.mix(w, generator.mapping(jt.array(other)), int(chance.integers(1, generator.n_latent)))
            drawn = generator.draw_noise(rng(seed, "mapper.noise", step), len(z)) if noise == "random" else noise
            images = listener.clip.image_features(generator.synthesis(codes, drawn))                # [B, d]

        # Image-specific prompts must tell their images apart and stay near the classes' templates.
        context = mapper(codes if mapper.per_level else w, rng(seed, "mapper.dropout", step))   # [B, n_ctx, ctx_dim]
        source, target = prompts.features(context)                                              # [B, d] each
        terms = {"contrastive": losses.contrastive(images, source, listener.scale),
                 "domain": losses.domain(target, listener.target_text),
                 "source": losses.domain(source, listener.source_text)}
        if settings.lambda_prompts:
            terms["prompts"] = losses.prompt_list(target, listed)
        loss = losses.mapper_objective(terms, settings.lambda_domain, settings.lambda_source, settings.lambda_prompts,
                                       settings.replace_domain)

        adam.step(dict(zip(params, jt.grad(loss, list(params.values())))))
        metrics = {"loss": loss.item(), **{name: term.item() for name, term in terms.items()}}
        if on_step is not None and on_step(step + 1, metrics, snapshot):
            return


def part_of(state: Mapping[str, np.ndarray], prefix: str) -> State:
    """Return the tensors named `prefix`/..., without the prefix."""
    return {name.removeprefix(prefix + "/"): value for name, value in state.items() if name.startswith(prefix + "/")}

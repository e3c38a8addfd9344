"""Stage 1 of IPL: train the prompt mapper, w -> image-specific prompt vectors (Guo et al. 2023, section 3.2)."""
from __future__ import annotations

from collections.abc import Callable

import numpy as np

from jittor_ipl import losses
from jittor_ipl.adaptation.batches import draw
from jittor_ipl.adaptation.directions import Prompts
from jittor_ipl.adaptation.listeners import Listener
from jittor_ipl.config.sections import MapperTraining
from jittor_ipl.models.mappers import Mapper
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.train.optim import Adam
from jittor_ipl.train.state import Loop, Weights


def train_mapper(generator: Generator, mapper: Mapper, prompts: Prompts, listener: Listener,
                 settings: MapperTraining, *, seed: int, noise: str = "random", loop: Loop | None = None,
                 draw_z: Callable[[int], np.ndarray] | None = None, listed: jt.Var | None = None) -> None:
    """Train `mapper` in place for `settings.steps` steps, or until the loop's hook says so.

    `prompts` and `listener` are of the same CLIP; the listener's template features anchor the domain loss. noise:
    "random" or "const" in the generated images. A `loop` that goes on from the state of an earlier one ends with the
    same bits on a CPU. `draw_z(step)` replaces the latents [batch, style_dim] of stream "mapper.z". listed: the
    features [n, d] of the user's own prompts, needed when `settings.lambda_prompts` is not 0. Metrics: loss,
    contrastive, domain, source, and prompts where there are any.
    """
    assert listed is not None or not settings.lambda_prompts, "a weight for a list of prompts that is not there"
    params = named_tensors(mapper)
    adam = Adam(params, settings.lr)
    loop = loop or Loop()
    for step in loop.steps(settings.steps, mapper=Weights(params), adam=adam):
        # What the mapper is asked to describe: generated images and their features, outside the gradient.
        z = draw_z(step) if draw_z else rng(seed, "mapper.z", step).standard_normal(
            (settings.batch, generator.style_dim), np.float32)
        with jt.no_grad():
            codes = w = generator.mapping(jt.array(z))
            chance = rng(seed, "mapper.mixing", step)
            if settings.mixing and chance.random() < settings.mixing:
                other = rng(seed, "mapper.z", step, 1).standard_normal(z.shape, np.float32)
                layer = int(chance.integers(1, generator.n_latent))
                codes = generator.mix(w, generator.mapping(jt.array(other)), layer)
            drawn = generator.draw_noise(rng(seed, "mapper.noise", step), len(z)) if noise == "random" else noise
            images = listener.clip.image_features(draw(generator, codes, drawn))                    # [B, d]

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

        adam.minimise(loss)
        loop.done({"loss": loss.item(), **{name: term.item() for name, term in terms.items()}})

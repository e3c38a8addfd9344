"""DreamBooth with LoRA: a style taught by a few pictures and their captions (Ruiz et al. 2023; Hu et al. 2021)."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jittor_ipl.config.lora import LoraTraining
from jittor_ipl.diffusion.examples import Examples, LatentBatch, Picture
from jittor_ipl.diffusion.schedule import noise_schedule
from jittor_ipl.models.bfloat16 import bfloat16_products
from jittor_ipl.models.diffusion.noise import NoiseSchedule
from jittor_ipl.models.diffusion.style_feature import StyleProjection, style_statistics
from jittor_ipl.models.layers import freeze
from jittor_ipl.models.lora import attach, detach, initial, places, targets, unfuse
from jittor_ipl.models.strict import named_tensors
from jittor_ipl.ops.norms import mean
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import rng
from jittor_ipl.train.optim import SCHEDULES, Adam, warmup
from jittor_ipl.train.state import Loop, Weights
from jittor_ipl.weights.diffusion import LatentDiffusion


@dataclass(frozen=True)
class Feature:
    """The VAE style feature of one style: its layers, the statistics [1, 2c, h, w] that they read, and its weight."""

    projection: StyleProjection
    statistics: np.ndarray
    weight: float

    def states(self) -> jt.Var:
        """Return what is added to a prompt's states, [1, L, D]."""
        return self.projection(jt.array(self.statistics)) * self.weight


@dataclass(frozen=True)
class StyleLora:
    """What a training leaves: a LoRA as `weights.lora.from_tensors` takes it, and a style feature if one was wished."""

    lora: dict[str, np.ndarray]
    feature: Feature | None


def train_lora(model: LatentDiffusion, pictures: Sequence[Picture], settings: LoraTraining, *, seed: int,
               prior: Sequence[Picture] = (), loop: Loop | None = None) -> StyleLora:
    """Train a LoRA (and a style feature) for `settings.steps` steps, or until the loop's hook says so.

    The model's own weights stay as they are, and it has no LoRA afterwards. prior: pictures of the model itself, needed
    when `settings.prior.weight` is not 0. A `loop` that goes on from the state of an earlier one ends with the same
    bits on a CPU. Metrics: loss, lr (of the U-Net) and norm (of the gradients). Raises UserError for targets that the
    model does not have and for pictures of a size that it cannot take.
    """
    assert prior or not settings.prior.weight, "a weight for pictures of the prior that are not there"
    networks = {"unet": model.unet, "text_encoder": model.text}
    for network in (model.vae, *networks.values()):
        freeze(network)
    detach(networks)
    unfuse(networks)
    model.unet.gradient_checkpointing = settings.checkpointing
    schedule = noise_schedule(model.scheduler)
    examples = Examples(model, pictures, prior if settings.prior.weight else ())

    # What trains: branches that change nothing yet, and the layers of the style feature.
    known = places(networks)
    modules = targets(known, "unet", settings.unet_targets) + targets(known, "text_encoder", settings.text_targets)
    alpha = settings.alpha or settings.rank
    lora = initial(known, modules, settings.rank, alpha, rng(seed, "lora.initial"), settings.initial)
    params = attach(networks, lora)
    feature = new_feature(model, examples, settings, seed) if settings.feature.on else None
    if feature is not None:
        params |= {f"feature.{name}": var for name, var in named_tensors(feature.projection).items()}
    states = None if settings.text_targets else fixed_states(model, examples)
    adam = Adam(params, settings.lr_unet, weight_decay=settings.weight_decay, decoupled=True)
    groups, lower = by_rate(params, settings), [model.unet] if settings.bfloat16 else []

    loop = loop or Loop()
    for step in loop.steps(settings.steps, lora=Weights(params), adam=adam):
        loss, grads = 0.0, None
        for part in range(settings.accumulation):
            batch = examples.draw(settings, schedule, seed, step, part)
            context = context_of(model, examples, batch, states, feature)
            with bfloat16_products(*lower):
                term = denoising_loss(model, schedule, batch, context) / float(settings.accumulation)
                new = jt.grad(term, list(params.values()))
            with jt.no_grad():            # a sum that knew where it came from would keep the graph of every part
                grads = [grad.detach() if grads is None else grads[i] + grad for i, grad in enumerate(new)]
            jt.sync([term, *grads])       # before the next part: together they would need the memory of all
            loss += term.item()
            del term, new, context
        norm = gradient_norm(grads)
        scale = min(1.0, settings.max_norm / (norm + 1e-6)) if settings.max_norm else 1.0
        progress = warmup(SCHEDULES[settings.schedule](1.0, step, settings.steps), step, settings.warmup)
        grads = dict(zip(params, grads))
        for rate, names in groups.items():
            adam.step({name: grads[name] * scale if scale < 1 else grads[name] for name in names}, rate * progress)
        loop.done({"loss": loss, "lr": settings.lr_unet * progress, "norm": norm})
        del grads
    trained = {**lora, **{name: params[name].numpy() for name in lora if name in params}}
    detach(networks)
    return StyleLora(trained, feature)


def denoising_loss(model: LatentDiffusion, schedule: NoiseSchedule, batch: LatentBatch, context: jt.Var) -> jt.Var:
    """Return the weighted squared error [1] of what the U-Net predicts from noisy latents (Ho et al. 2020, eq. 14).

    Times, targets (noise or v) and noisy latents are those of `schedule`; context [B, L, D].
    """
    noisy = schedule.noised(batch.latents, batch.noise, batch.timesteps)
    target = schedule.target(batch.latents, batch.noise, batch.timesteps)
    predicted = model.unet(jt.array(noisy), jt.array(batch.timesteps.astype(np.float32)), context)
    difference = predicted - jt.array(target)
    return (mean(difference * difference, (1, 2, 3)) * jt.array(batch.weights)).sum()


def context_of(model: LatentDiffusion, examples: Examples, batch: LatentBatch, states: jt.Var | None = None,
               feature: Feature | None = None) -> jt.Var:
    """Return the text states [B, L, D] of a batch's captions, from `fixed_states` if they are given.

    The style feature is added to all but the empty caption's.
    """
    if states is None:
        context = model.text.hidden_states(examples.tokens[batch.texts])
    else:
        context = states[jt.array(batch.texts.astype(np.int32))]
    if feature is None:
        return context
    told = jt.array((batch.texts != examples.empty).astype(np.float32)).reshape(-1, 1, 1)
    return context + feature.states() * told


def fixed_states(model: LatentDiffusion, examples: Examples) -> jt.Var:
    """Return the states [n + 1, L, D] of all captions and of the empty one, for a text encoder that does not train."""
    with jt.no_grad():
        states = model.text.hidden_states(examples.tokens)
    states.sync()
    return states.stop_grad()


def new_feature(model: LatentDiffusion, examples: Examples, settings: LoraTraining, seed: int) -> Feature:
    """Return an untrained style feature with the statistics of the style's own pictures."""
    statistics = style_statistics(examples.moments[:examples.count])
    shape = examples.moments[0][0].shape
    projection = StyleProjection(shape, examples.tokens.shape[1], model.unet.config.cross_attention_dim[0])
    return Feature(projection.initialise(rng(seed, "lora.feature")), statistics, settings.feature.weight)


def by_rate(params: Mapping[str, jt.Var], settings: LoraTraining) -> dict[float, list[str]]:
    """Return learning rate -> names of the tensors that have it; up learns `lora_plus` times as fast as down.

    LoRA+ (Hayou et al. 2024, section 4): with one rate for both, wide layers learn too little through up.
    """
    rates = {"unet": settings.lr_unet, "text_encoder": settings.lr_text, "feature": settings.feature.lr}
    groups: dict[float, list[str]] = {}
    for name in params:
        ratio = settings.lora_plus if name.endswith(".up") else 1.0
        groups.setdefault(rates[name.partition(".")[0]] * ratio, []).append(name)
    return groups


def gradient_norm(grads: Sequence[jt.Var]) -> float:
    """Return the length of all gradients as one vector."""
    return float(sum((grad * grad).sum() for grad in grads).sqrt().item())

"""Stage 2: train the target generator along the text directions (IPL section 3.3; StyleGAN-NADA section 4)."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from jittor_ipl import losses
from jittor_ipl.adaptation import layers, views
from jittor_ipl.adaptation.anchors import Anchor, Anchors, remaining
from jittor_ipl.adaptation.consolidation import information_of
from jittor_ipl.adaptation.directions import Listener, Prompts
from jittor_ipl.adaptation.draws import Draws
from jittor_ipl.adaptation.stage1 import Hook, State, part_of
from jittor_ipl.models.mappers import Mapper
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.train.optim import SCHEDULES, Adam, Ema

PATCH_SHARE = 510 / 1024     # side of the patch loss's crops, as a part of the image's (NADA: 510 px of 1024)


class AnchorSteps(Protocol):
    """When anchors are dropped, in steps."""

    first: int
    every: int


class GeneratorSettings(Protocol):
    """The numbers of stage 2 (the suite's `generator:` section)."""

    steps: int
    batch: int
    schedule: str
    ema: float
    mixing: float
    noise: str
    layers: str
    auto_layers_k: int
    auto_layers_batch: int
    auto_layers_iters: int
    auto_layers_every: int
    train: Sequence[str]
    maps_rate: float
    views: int
    view_scale: float
    view_noise: float
    direction_floor: float
    anchors: AnchorSteps

    def adam(self) -> tuple[float, tuple[float, float]]:
        """Return learning rate and betas of Adam."""


class LossWeights(Protocol):
    """The weights of the losses (the suite's `losses:` section)."""

    directional: float
    global_: float
    manifold: float
    texture: float
    variations: float
    naming: float
    mean_direction: float
    covariance: float
    anchor: float
    consolidation: float
    patch: float
    structure: float
    range: float


def train_generator(source: Generator, target: Generator, listeners: Sequence[Listener], settings: GeneratorSettings,
                    weights: LossWeights, *, seed: int, prompts: Prompts | None = None,
                    mapper: Mapper | None = None, official: bool = False, start: int = 0,
                    state: Mapping[str, np.ndarray] | None = None, on_step: Hook | None = None,
                    draws: Draws | None = None) -> dict[str, np.ndarray]:
    """Train `target` in place for `settings.steps` steps, or until `on_step` returns True; return the averaged tensors.

    source: the frozen generator; target: the one that trains, with the source's weights. Each listener follows its own text
    direction; with `prompts` and `mapper` (IPL) the first one follows the prompts of each image instead. `official`
    repeats the original code's layer choice, separate noise and unclamped images. With `start` and the `state` a hook
    got after that many steps, the run goes on bit-identically on a CPU.
    Returns name -> array of every parameter of the moving average. Metrics: loss, lr and each loss that has a weight.
    """
    draws = draws or Draws(seed, source, settings)
    criterion = Criterion(listeners, settings, weights, clamp=not official)
    names = layers.candidates(target, settings.train, settings.layers)
    params = target.trainable()
    for name in names:
        params[name].start_grad()       # stored noise maps are buffers until somebody trains them
    rate, betas = settings.adam()
    adam = Adam({name: params[name] for name in names}, rate, betas)
    ema = Ema(params, settings.ema)
    anchors = Anchors(source, listeners, draws, settings.anchors.first, settings.anchors.every, clamp=not official) \
        if weights.anchor else None
    # Before a state is restored: the target is still the source here.
    information = information_of(target, names, draws) if weights.consolidation else {}
    before = source.trainable()
    chosen = np.arange(0)
    if state is not None:
        target.put(part_of(state, "target"))
        adam.load_state(part_of(state, "adam"))
        ema.load_state(part_of(state, "ema"))
        chosen = state["chosen_layers"]
        if anchors is not None and "anchor_step" in state:
            anchors.load_state(state["anchor_step"], part_of(state, "anchor"))

    def snapshot() -> State:
        parts = {"target": {name: params[name].numpy() for name in names}, "adam": adam.state(), "ema": ema.state()}
        return {"chosen_layers": np.asarray(chosen, np.int32), **(anchors.state(names) if anchors is not None else {}),
                **{f"{part}/{name}": value for part, tensors in parts.items() for name, value in tensors.items()}}

    for step in range(start, settings.steps):
        # z -> w, ws; and the layers that train now
        with jt.no_grad():
            w = source.mapping(jt.array(draws.z(step)))                                         # [B, w_dim]
            crossover = draws.crossover(step)
            ws = source.mix(w, source.mapping(jt.array(draws.z(step, 1))), crossover) if crossover else w
        if settings.layers == "auto" and step % settings.auto_layers_every == 0:
            chosen = choose_layers(source, target, listeners, settings, draws, step)
        train = layers.selected(target, names, chosen, official) if settings.layers == "auto" else names

        # The pair of images, and where its change should point
        noise = draws.noise(step, 0, settings.batch)
        with jt.no_grad():
            image_source = source.synthesis(ws, noise)                                          # [B, 3, H, W]
            directions = [listener.direction for listener in listeners]
            if prompts is not None:
                directions[0] = prompts.directions(*prompts.learned(mapper(ws if mapper.per_level else w)))     # [B, d]
        image_target = target.synthesis(ws, draws.noise(step, 2, settings.batch) if official else noise)
        anchor = anchors.visit(step, target, names, ws, noise) if anchors is not None else None
        terms = criterion(image_source, image_target, directions, draws, step, anchor)
        if information:
            terms["consolidation"] = weights.consolidation * losses.consolidation(params, before, information)
        loss = sum(terms.values())

        lr = SCHEDULES[settings.schedule](rate, step, settings.steps)
        grads = dict(zip(train, jt.grad(loss, [params[name] for name in train])))
        maps = {name: grad for name, grad in grads.items() if layers.group_of(name) == "maps"}
        adam.step({name: grad for name, grad in grads.items() if name not in maps}, lr)
        if maps:
            adam.step(maps, lr * settings.maps_rate)
        ema.update()
        metrics = {"loss": loss.item(), "lr": lr, **{name: term.item() for name, term in terms.items()}}
        if on_step is not None and on_step(step + 1, metrics, snapshot):
            break
    return ema.state()


class Criterion:
    """The weighted losses of stage 2 over all listeners and views."""

    def __init__(self, listeners: Sequence[Listener], settings: GeneratorSettings, weights: LossWeights, clamp: bool):
        self.listeners, self.settings, self.weights, self.clamp = listeners, settings, weights, clamp
        assert not weights.texture or any(one.clip.is_resnet for one in listeners), "texture loss without a ResNet CLIP"

    def __call__(self, source: jt.Var, target: jt.Var, directions: Sequence[jt.Var], draws: Draws, step: int,
                 anchor: Anchor | None = None) -> dict[str, jt.Var]:
        """Return the weighted terms [1] for images [B, 3, H, W] and one text direction [1 or B, d] per listener."""
        w = self.weights
        terms = {"range": w.range * losses.out_of_range(target)} if w.range else {}
        if self.clamp:        # CLIP hears what a picture file can hold
            source, target = _clamped(source), _clamped(target)
        if w.structure:
            terms["structure"] = w.structure * losses.structure(source, target)
        copies = 1 + self.settings.views
        seen = [draws.view(step, index) for index in range(self.settings.views)]
        with jt.no_grad():
            all_source = views.with_views(source, seen)
            all_anchor = views.with_views(_clamped(anchor.images) if self.clamp else anchor.images, seen) if anchor else None
        all_target = views.with_views(target, seen)
        for index, (one, direction) in enumerate(zip(self.listeners, directions)):
            if direction.shape[0] > 1 and copies > 1:
                direction = jt.concat([direction] * copies, 0)
            with jt.no_grad():
                before = one.clip.image_features(all_source)
            after = one.clip.image_features(all_target)
            of_listener = self._terms(one, before, after, direction)
            if anchor:
                with jt.no_grad():
                    half = one.clip.image_features(all_anchor)
                of_listener["anchor"] = w.anchor * losses.directional(half, after, *remaining(direction, one.length, anchor.offsets[index]))
            for name, term in of_listener.items():
                terms[name] = terms.get(name, 0.0) + one.weight * term
        if w.patch:
            terms["patch"] = self._patch(source, target, draws, step)
        return terms

    def _terms(self, one: Listener, before: jt.Var, after: jt.Var, direction: jt.Var) -> dict[str, jt.Var]:
        """One listener's unpatched losses between the features [N, d] of both generators' images."""
        w, floor = self.weights, self.settings.direction_floor
        terms = {"directional": lambda: losses.directional(before, after, direction, floor),
                 "global": lambda: losses.global_similarity(after, one.global_text, one.scale),
                 "manifold": lambda: losses.manifold(before, after, one.source_text, one.target_text),
                 "variations": lambda: losses.variations(before, after, one.answers, one.scale),
                 "naming": lambda: losses.naming(after, one.names, one.scale),
                 "mean_direction": lambda: self._by_view(lambda *rows: losses.mean_direction(*rows, floor), before, after,
                                                         direction.broadcast(after.shape)),
                 "covariance": lambda: self._by_view(lambda rows: losses.covariance(rows, one.varied), losses.direction(before, after, floor)),
                 "texture": lambda: losses.texture(before, after)}
        asked = {"directional": w.directional, "global": w.global_, "manifold": w.manifold, "variations": w.variations,
                 "naming": w.naming, "mean_direction": w.mean_direction, "covariance": w.covariance, "texture": w.texture if one.clip.is_resnet else 0.0}
        return {name: asked[name] * term() for name, term in terms.items() if asked[name]}

    def _by_view(self, loss: Callable[..., jt.Var], *rows: jt.Var) -> jt.Var:
        """The mean of a loss over the plain images and each view: a picture should not differ from its own view."""
        copies = 1 + self.settings.views
        size = rows[0].shape[0] // copies
        return sum(loss(*(part[i * size:(i + 1) * size] for part in rows)) for i in range(copies)) / float(copies)

    def _patch(self, source: jt.Var, target: jt.Var, draws: Draws, step: int) -> jt.Var:
        size = int(PATCH_SHARE * source.shape[2]) // 2 * 2
        centers = draws.patch_centers(step, size)
        with jt.no_grad():
            cut_source = views.patches(source, centers, size)
        cut_target, total = views.patches(target, centers, size), 0.0
        for one in self.listeners:
            with jt.no_grad():
                before = one.clip.image_features(cut_source)
            after = one.clip.image_features(cut_target)
            total = total + one.weight * losses.patch(before, after, one.part_directions, self.settings.direction_floor)
        return self.weights.patch * total


def _clamped(images: jt.Var) -> jt.Var:
    return jt.clamp(images, -1.0, 1.0)


def choose_layers(source: Generator, target: Generator, listeners: Sequence[Listener], settings: GeneratorSettings,
                  draws: Draws, step: int) -> np.ndarray:
    """Return the indices of W+ whose change would bring the images closest to the target class (NADA, section 4.3)."""
    z = draws.z_layers(step)
    noise = draws.noise(step, 1, len(z))
    with jt.no_grad():
        ws = source.broadcast(source.mapping(jt.array(z)))

    def loss(ws: jt.Var) -> jt.Var:
        images = target.synthesis(ws, noise)
        return sum(one.weight * losses.global_similarity(one.clip.image_features(images), one.class_text, one.scale)
                   for one in listeners)

    return layers.choose(target, ws, loss, settings.auto_layers_k, settings.auto_layers_iters)

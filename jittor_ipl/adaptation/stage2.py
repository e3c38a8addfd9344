"""Stage 2: train the target generator along the text directions (IPL section 3.3; StyleGAN-NADA section 4)."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from jittor_ipl import losses
from jittor_ipl.adaptation import layers, views
from jittor_ipl.adaptation.anchors import Anchor, Anchors, remaining
from jittor_ipl.adaptation.batches import WHOLE, Batch, gradients, noise_of, slices
from jittor_ipl.adaptation.consolidation import information_of
from jittor_ipl.adaptation.directions import Prompts
from jittor_ipl.adaptation.draws import Draws
from jittor_ipl.adaptation.lessons import Lesson
from jittor_ipl.adaptation.listeners import Listener
from jittor_ipl.config.sections import GeneratorTraining, Losses
from jittor_ipl.errors import UserError
from jittor_ipl.models.mappers import Mapper
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.train.optim import SCHEDULES, Adam, Ema
from jittor_ipl.train.ranks import Ranks
from jittor_ipl.train.state import Loop, State, Weights


def train_generator(source: Generator, target: Generator, listeners: Sequence[Listener], settings: GeneratorTraining,
                    weights: Losses, *, seed: int, prompts: Prompts | None = None, mapper: Mapper | None = None,
                    official: bool = False, loop: Loop | None = None, draws: Draws | None = None,
                    lesson: Lesson | None = None, ranks: Ranks | None = None) -> dict[str, np.ndarray]:
    """Train `target` in place for `settings.steps` steps, or until the loop's hook says so; return its average.

    source: the frozen generator; target: the one that trains, with the source's weights. Each listener follows its own
    text direction, none without listeners; a `lesson` says besides how the pictures should be; with `prompts` and
    `mapper` (IPL) the first one follows the prompts of each image instead.
    `official` repeats the original code's layer choice, separate noise and unclamped images. A `loop` that goes on from
    the state of an earlier one ends with the same bits on a CPU. Returns name -> array of every parameter of the moving
    average. ranks: the processes that share every batch. Metrics: loss, lr and each loss that has a weight.
    """
    draws = draws or Draws(seed, source, settings)
    names = layers.candidates(target, settings.train, settings.layers)
    params = target.trainable()
    trained = {name: params[name] for name in names}
    for var in trained.values():
        var.start_grad()                # stored noise maps are buffers until somebody trains them
    rate, betas = settings.adam()
    adam = Adam(trained, rate, betas)
    ema = Ema(params, settings.ema)
    choice = LayerChoice(source, target, listeners, settings, draws, names, official)
    anchored = settings.anchors if weights.anchor and listeners else None
    anchors = Anchors(source, listeners, draws, anchored, clamp=not official)
    criterion = Criterion(listeners, settings, weights, clamp=not official) if listeners else None
    # Before a state is restored: the target is still the source here.
    information = information_of(target, names, draws) if weights.consolidation and listeners else {}
    before = source.trainable()
    rows = [WHOLE] if weights.mean_direction or weights.covariance else slices(settings.batch, source.size)
    if ranks is not None:
        rows = shared_rows(ranks, settings, weights, rows)

    def compare(batch: Batch) -> dict[str, jt.Var]:
        """Return the weighted losses [1] of a pair of images."""
        image_target, terms = target.synthesis(batch.ws, batch.target_noise), {}                # [B, 3, H, W]
        if batch.wanted is not None:
            terms["lesson"] = lesson.loss(image_target, batch.wanted)
        if criterion:
            with jt.no_grad():
                image_source = source.synthesis(batch.ws, batch.noise)
            terms |= criterion(image_source, image_target, batch, anchors.images(batch.ws, batch.noise))
        if information:
            terms["consolidation"] = weights.consolidation * losses.consolidation(params, before, information)
        return terms

    loop = loop or Loop()
    if ranks is not None:
        ranks.require_equal(loop.start, "steps")
    for step in loop.steps(settings.steps, target=Weights(trained), adam=adam, ema=ema, chosen=choice, anchor=anchors):
        # z -> w, ws; and the layers that train now
        with jt.no_grad():
            w = source.mapping(jt.array(draws.z(step)))                                         # [B, w_dim]
            crossover = draws.crossover(step)
            ws = source.mix(w, source.mapping(jt.array(draws.z(step, 1))), crossover) if crossover else w
        train = choice.names(step)
        anchors.drop_if_due(step, trained)

        # Where each image should go, and how far the pair of images is from that
        directions = [listener.direction for listener in listeners]
        if prompts is not None:
            with jt.no_grad():
                context = mapper(ws if mapper.per_level else w)                                 # [B, n_ctx, d_text]
                directions[0] = prompts.directions(*prompts.learned(context))                   # [B, d]
        batch = draws.batch(step, ws, directions, separate_noise=official)
        batch = batch if lesson is None else replace(batch, wanted=jt.array(lesson.wanted(step, batch, target)))
        loss, terms, grads = gradients(compare, batch, rows, [params[name] for name in train], ranks)

        lr = SCHEDULES[settings.schedule](rate, step, settings.steps)
        grads = dict(zip(train, grads))
        maps = {name: grad for name, grad in grads.items() if layers.group_of(name) == "maps"}
        adam.step({name: grad for name, grad in grads.items() if name not in maps}, lr)
        if maps:
            adam.step(maps, lr * settings.maps_rate)
        ema.update()
        loop.done({"loss": loss.item(), "lr": lr, **{name: term.item() for name, term in terms.items()}})
        del loss, terms, grads, maps      # they would hold every intermediate result of the step through the next
    return ema.state()


def shared_rows(ranks: Ranks, settings: GeneratorTraining, weights: Losses, rows: Sequence[slice]) -> list[slice]:
    """Return this process's rows of a batch; UserError for losses that compare the images of a batch."""
    whole = [name for name in ("mean_direction", "covariance") if getattr(weights, name)]
    if whole:
        raise UserError(f"--mpi: {', '.join(whole)} of losses need a batch in one process: set them to 0 or train "
                        "without --mpi")
    return ranks.rows(settings.batch, rows)


class LayerChoice:
    """Which tensors train: all of `names`, or those of the layers that CLIP chooses anew every so many steps.

    `settings.layers` "auto" is NADA's choice (section 4.3): of the indices of W+, those whose change would bring the
    images closest to the target class.
    """

    def __init__(self, source: Generator, target: Generator, listeners: Sequence[Listener], settings: GeneratorTraining,
                 draws: Draws, names: Sequence[str], official: bool):
        self.source, self.target, self.listeners, self.settings = source, target, listeners, settings
        self.draws, self._names, self.official = draws, names, official
        self.indices = np.zeros(0, np.int32)

    def names(self, step: int) -> Sequence[str]:
        """Return the names of the tensors that train in this step."""
        numbers = self.settings
        if numbers.layers != "auto":
            return self._names
        if step % numbers.auto_layers_every == 0:
            z = self.draws.z(step, 0, "generator.layers", numbers.auto_layers_batch)
            noise = self.draws.noise(step, 1, len(z))
            with jt.no_grad():
                ws = self.source.broadcast(self.source.mapping(jt.array(z)))

            def loss(ws: jt.Var, rows: slice) -> jt.Var:
                images = self.target.synthesis(ws, noise_of(noise, rows))
                return sum(one.weight * losses.global_similarity(
                    one.clip.image_features(images), one.class_text, one.scale) for one in self.listeners)

            self.indices = layers.choose(self.target, ws, loss, numbers.auto_layers_k, numbers.auto_layers_iters)
        return layers.selected(self.target, self._names, self.indices, self.official)

    def state(self) -> State:
        """Return the present choice."""
        return {"layers": np.asarray(self.indices, np.int32)}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` returned."""
        self.indices = state["layers"]


class Criterion:
    """The weighted losses of stage 2 over all listeners and views."""

    def __init__(self, listeners: Sequence[Listener], settings: GeneratorTraining, weights: Losses, clamp: bool):
        self.listeners, self.settings, self.weights, self.clamp = listeners, settings, weights, clamp
        assert not weights.texture or any(one.clip.is_resnet for one in listeners), "texture loss without a ResNet CLIP"
        assert not weights.patch or all(one.part_directions.shape[0] for one in listeners), "patch loss without parts"

    def __call__(self, source: jt.Var, target: jt.Var, batch: Batch, anchor: Anchor | None = None) -> dict[str, jt.Var]:
        """Return the weighted terms [1] for the images [B, 3, H, W] of both generators."""
        w = self.weights
        terms = {"range": w.range * losses.out_of_range(target)} if w.range else {}
        if self.clamp:        # CLIP sees what a picture file can hold
            source, target = (jt.clamp(images, -1.0, 1.0) for images in (source, target))
        if w.structure:
            terms["structure"] = w.structure * losses.structure(source, target)
        with jt.no_grad():
            all_source = views.with_views(source, batch.views)
        all_target = views.with_views(target, batch.views)
        for index, (one, direction) in enumerate(zip(self.listeners, batch.directions)):
            with jt.no_grad():
                before = one.clip.image_features(all_source)
            after = one.clip.image_features(all_target)
            if direction.shape[0] > 1 and batch.views:
                direction = jt.concat([direction] * (1 + len(batch.views)), 0)
            of_listener = self._terms(one, before, after, direction)
            if anchor:
                of_listener["anchor"] = w.anchor * self._anchor(one, index, anchor, after, direction, batch)
            for name, term in of_listener.items():
                terms[name] = terms.get(name, 0.0) + one.weight * term
        if w.patch:
            terms["patch"] = w.patch * self._patch(source, target, batch.centers)
        return terms

    def _terms(self, one: Listener, before: jt.Var, after: jt.Var, direction: jt.Var) -> dict[str, jt.Var]:
        """One listener's unpatched losses between the features [N, d] of both generators' images."""
        w, floor = self.weights, self.settings.direction_floor
        mean_direction = partial(losses.mean_direction, floor=floor)
        covariance = partial(losses.covariance, texts=one.varied)
        terms = {
            "directional": (w.directional, lambda: losses.directional(before, after, direction, floor)),
            "global": (w.global_, lambda: losses.global_similarity(after, one.global_text, one.scale)),
            "manifold": (w.manifold, lambda: losses.manifold(before, after, one.source_text, one.target_text)),
            "variations": (w.variations, lambda: losses.variations(before, after, one.answers, one.scale)),
            "naming": (w.naming, lambda: losses.naming(after, one.names, one.scale)),
            "mean_direction": (w.mean_direction, lambda: self._by_view(mean_direction, before, after,
                                                                       direction.broadcast(after.shape))),
            "covariance": (w.covariance, lambda: self._by_view(covariance, losses.direction(before, after, floor))),
            "texture": (w.texture if one.clip.is_resnet else 0.0, lambda: losses.texture(before, after))}
        return {name: weight * loss() for name, (weight, loss) in terms.items() if weight}

    def _anchor(self, one: Listener, index: int, anchor: Anchor, after: jt.Var, direction: jt.Var,
                batch: Batch) -> jt.Var:
        """The directional loss from the half-adapted generator on: along what is left of the listener's way."""
        with jt.no_grad():
            images = jt.clamp(anchor.images, -1.0, 1.0) if self.clamp else anchor.images
            half = one.clip.image_features(views.with_views(images, batch.views))
        return losses.directional(half, after, *remaining(direction, one.length, anchor.offsets[index]))

    def _by_view(self, loss: Callable[..., jt.Var], *rows: jt.Var) -> jt.Var:
        """The mean of a loss over the plain images and each view: a picture should not differ from its own view."""
        copies = 1 + self.settings.views
        size = rows[0].shape[0] // copies
        return sum(loss(*(part[i * size:(i + 1) * size] for part in rows)) for i in range(copies)) / float(copies)

    def _patch(self, source: jt.Var, target: jt.Var, centers: np.ndarray) -> jt.Var:
        size = views.patch_size(source.shape[2])
        with jt.no_grad():
            cut_source = views.patches(source, centers, size)
        cut_target, total = views.patches(target, centers, size), 0.0
        for one in self.listeners:
            with jt.no_grad():
                before = one.clip.image_features(cut_source)
            after = one.clip.image_features(cut_target)
            total = total + one.weight * losses.patch(before, after, one.part_directions, self.settings.direction_floor)
        return total

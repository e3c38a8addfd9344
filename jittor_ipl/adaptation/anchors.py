"""Half-adapted generators as second places to start from (AIR: Liu et al. 2025, arXiv 2506.10895)."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jittor_ipl.adaptation.draws import Draws
from jittor_ipl.adaptation.listeners import Listener
from jittor_ipl.config.sections import AnchorSteps
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.ops.norms import unit
from jittor_ipl.runtime.backend import jt

BATCHES = 8      # of the training's batch size: the images that an anchor's place is measured on
LEAST = 0.25     # of the whole way that an anchor asks for, however little is left of it


@dataclass(frozen=True)
class Anchor:
    """An anchor's images [B, 3, H, W] of one step, and for each listener how far [1, d] it has come from the source."""

    images: jt.Var
    offsets: Sequence[jt.Var]


class Anchors:
    """From step `when.first` on, every `when.every` steps, the generator as it is becomes the anchor; never for None.

    Text and image offsets agree the better the nearer two domains are, so the way that is left from the anchor is a
    better guide than the whole way from the source. AIR learns a prompt for the anchor, whose offset from the source's
    text points as the images' does. Here the images' mean offset itself, at most as long as the whole way, is taken for
    it: what such a prompt reaches at best. `clamp`: CLIP sees images clamped to [-1, 1].
    """

    def __init__(self, source: Generator, listeners: Sequence[Listener], draws: Draws, when: AnchorSteps | None,
                 clamp: bool = True):
        self.source, self.listeners, self.draws, self.when, self.clamp = source, listeners, draws, when, clamp
        self.generator: Generator | None = None  # the present anchor, None before the first
        self.dropped = -1                        # its step
        self.names: list[str] = []               # of the tensors that it does not share with the source
        self.offsets: list[jt.Var] = []

    def drop_if_due(self, step: int, tensors: Mapping[str, jt.Var]) -> None:
        """Where one is due make the target the anchor; `tensors` are all in which it differs from the source."""
        if self.when and step >= self.when.first and (step - self.when.first) % self.when.every == 0:
            self._drop(step, {name: var.numpy() for name, var in tensors.items()})

    def images(self, ws: jt.Var, noise: list[jt.Var] | str) -> Anchor | None:
        """Return what a step compares with, outside any gradient; None before the first anchor.

        ws: [B, style_dim] or [B, n_latent, style_dim].
        """
        if self.generator is None:
            return None
        with jt.no_grad():
            return Anchor(self.generator.synthesis(ws, noise), self.offsets)

    def state(self) -> dict[str, np.ndarray]:
        """Return step and tensors of the present anchor, nothing before the first."""
        if self.generator is None:
            return {}
        now = self.generator.trainable()
        return {"step": np.int32([self.dropped]), **{name: now[name].numpy() for name in self.names}}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` returned."""
        if state:
            self._drop(int(state["step"][0]), {name: array for name, array in state.items() if name != "step"})

    def _drop(self, step: int, tensors: Mapping[str, np.ndarray]) -> None:
        self.generator = self.generator or self.source.copy()
        self.generator.put(tensors)
        self.dropped, self.names = step, list(tensors)
        self.offsets = [jt.zeros_like(one.direction) for one in self.listeners]
        with jt.no_grad():
            for index in range(BATCHES):
                z = self.draws.z(step, index, "generator.anchor")
                w, noise = self.source.mapping(jt.array(z)), self.draws.noise(step, 3 + index, len(z))
                pair = [generator.synthesis(w, noise) for generator in (self.source, self.generator)]
                before, after = (jt.clamp(images, -1.0, 1.0) for images in pair) if self.clamp else pair
                for number, one in enumerate(self.listeners):
                    moved = unit(one.clip.image_features(after)) - unit(one.clip.image_features(before))    # [B, d]
                    offset = self.offsets[number] + moved.sum(0, keepdims=True) / float(BATCHES * len(z))
                    self.offsets[number] = offset
                jt.sync(self.offsets)


def remaining(direction: jt.Var, length: float, offset: jt.Var) -> tuple[jt.Var, jt.Var]:
    """Return what is left of a way after an offset: unit directions [n, d], lengths [n, 1] of `LEAST * length` or more.

    direction: [n, d], unit; length: of the whole way; offset: [1, d], taken as no longer than that. Where less than
    `LEAST` is left the direction is shorter than 1, by as much: at the target it is 0.
    """
    moved = jt.sqrt((offset * offset).sum(-1, keepdims=True) + 1e-12)              # [1, 1]
    left = direction * length - offset * jt.minimum(length / moved, jt.ones_like(moved))
    asked = jt.maximum(jt.sqrt((left * left).sum(-1, keepdims=True)), LEAST * length)
    return (left / asked).stop_grad(), asked.stop_grad()

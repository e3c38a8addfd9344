"""Half-adapted generators as second places to start from (Liu et al. 2025, "AIR", section 4)."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jittor_ipl.losses import SHORTEST
from jittor_ipl.models.stylegan2 import Generator
from jittor_ipl.ops.norms import unit
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.strict import numpy_tensors

from .directions import Listener
from .draws import Draws

BATCHES = 8      # of the training's batch size: the images that an anchor's place is measured on


@dataclass(frozen=True)
class Anchor:
    """An anchor's images [B, 3, H, W] of one step, and the unit directions [1, d] from it, one a listener."""

    images: jt.Var
    directions: Sequence[jt.Var]


class Anchors:
    """From step `first` on, every `every` steps, the generator as it is becomes the anchor.

    Text and image offsets agree the better the nearer two domains are, so the way that is left from the anchor is a better
    guide than the whole way from the source. AIR learns a prompt for the anchor, whose offset from the source's text points
    as the images' does. Here the images' mean offset itself, at most as long as the whole text direction, is taken for it:
    what such a prompt reaches at best. What is left of the text direction is the direction from the anchor.
    """

    def __init__(self, source: Generator, listeners: Sequence[Listener], draws: Draws, first: int, every: int):
        self.source, self.listeners, self.draws, self.first, self.every = source, listeners, draws, first, every
        self.generator = Generator.from_tensors(numpy_tensors(source), lr_mlp=source.lr_mlp, conv_clamp=source.conv_clamp)
        self.dropped: int | None = None          # the step of the present anchor
        self.directions: list[jt.Var] = []       # [1, d] unit, one a listener: from the anchor to the target

    def visit(self, step: int, target: Generator, names: Sequence[str], ws: jt.Var, noise: list[jt.Var] | str) -> Anchor | None:
        """Return what the step `step` compares with on w or ws, outside any gradient; None before the first anchor.

        Where an anchor is due it is dropped first: `names` of `target` are all that differs from the source.
        """
        if step >= self.first and (step - self.first) % self.every == 0:
            own = target.trainable()
            self._drop(step, {name: own[name].numpy() for name in names})
        if self.dropped is None:
            return None
        with jt.no_grad():
            return Anchor(self.generator.synthesis(ws, noise), self.directions)

    def state(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Return what a resume needs: step and tensors of the present anchor, nothing before the first."""
        if self.dropped is None:
            return {}
        own = self.generator.trainable()
        return {"anchor_step": np.int32([self.dropped]), **{f"anchor/{name}": own[name].numpy() for name in names}}

    def load_state(self, step: np.ndarray, tensors: Mapping[str, np.ndarray]) -> None:
        """Take back what `state` returned: its step, and its tensors without their prefix."""
        self._drop(int(step[0]), tensors)

    def _drop(self, step: int, tensors: Mapping[str, np.ndarray]) -> None:
        self.generator.put(tensors)
        self.dropped = step
        offsets = [0.0] * len(self.listeners)
        with jt.no_grad():
            for index in range(BATCHES):
                z = self.draws.z_anchor(step, index)
                w, noise = self.source.mapping(jt.array(z)), self.draws.noise(step, 3 + index, len(z))
                before, after = (jt.clamp(g.synthesis(w, noise), -1.0, 1.0) for g in (self.source, self.generator))
                moved = [unit(one.clip.image_features(after)) - unit(one.clip.image_features(before)) for one in self.listeners]
                offsets = [total + step.sum(0, keepdims=True) / float(BATCHES * len(z)) for total, step in zip(offsets, moved)]
                jt.sync(offsets)
            self.directions = [remaining(one, offset) for one, offset in zip(self.listeners, offsets)]


def remaining(one: Listener, offset: jt.Var) -> jt.Var:
    """Return the unit direction [1, d] that is left of a listener's after its images moved by `offset` [1, d] on the mean.

    Where next to nothing is left (`SHORTEST`) it is shorter than 1.
    """
    gap = unit(one.target_text) - unit(one.source_text)
    whole = jt.sqrt((gap * gap).sum(-1, keepdims=True))                            # [1, 1], the text direction's length
    moved = jt.sqrt((offset * offset).sum(-1, keepdims=True) + 1e-12)
    left = unit(one.direction * whole - offset * jt.minimum(whole / moved, jt.ones_like(whole)), eps=SHORTEST).stop_grad()
    left.sync()
    return left

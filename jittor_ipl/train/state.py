"""What a training loop goes on from: named arrays, and the steps that are left."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from jittor_ipl.runtime.backend import jt

State = dict[str, np.ndarray]      # "<part>/<name>" -> array
# Called after every step with the steps done, their numbers and what makes the state to resume from; True stops.
Hook = Callable[[int, Mapping[str, float], Callable[[], State]], object]


class Weights:
    """A network's named tensors as a part of a loop's state; each trains after a restore if it did before."""

    def __init__(self, tensors: Mapping[str, jt.Var]):
        self.tensors = dict(tensors)

    def state(self) -> State:
        """Return a copy of every tensor."""
        return {name: var.numpy() for name, var in self.tensors.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Set every tensor; AssertionError unless names and shapes are the same."""
        assert set(state) == set(self.tensors), set(state) ^ set(self.tensors)
        # A lazy array of one element would be fused into the kernels that use it, and some of those do not compile.
        values = {name: jt.array(array).reshape(self.tensors[name].shape) for name, array in state.items()}
        jt.sync(list(values.values()))
        for name, var in self.tensors.items():
            trains = var.requires_grad
            var.update(values[name])
            var.requires_grad = trains      # update takes the flag of the new value


class Loop:
    """The steps of one training: from `start`, where `state` was taken, until the last or until a hook returns True.

    What makes up the state are parts: objects with `state()`, their named arrays, and `load_state(arrays)`.

        for step in loop.steps(100, weights=Weights(params), adam=adam):
            ...
            loop.done({"loss": loss.item()})
    """

    def __init__(self, start: int = 0, state: Mapping[str, np.ndarray] | None = None, on_step: Hook | None = None):
        self.start, self.state, self._on_step = start, state, on_step

    def steps(self, total: int, **parts: Any) -> Iterator[int]:
        """Restore the parts from the state, if there is one, and yield the steps that are left: 0 is the first."""
        if self.state is not None:
            for name, part in parts.items():
                part.load_state(part_of(self.state, name))
        for step in range(self.start, total):
            self._metrics = None
            yield step
            assert self._metrics is not None, "a step ended without loop.done(metrics)"
            if self._on_step is not None and self._on_step(step + 1, self._metrics, lambda: joined(parts)):
                return

    def done(self, metrics: Mapping[str, float]) -> None:
        """Note the numbers of the step that was just done; the hook gets them before the next one."""
        self._metrics = metrics


def joined(parts: Mapping[str, Any]) -> State:
    """Return the arrays of all parts, each under `<part>/<name>`."""
    return {f"{part}/{name}": array for part, holder in parts.items() for name, array in holder.state().items()}


def part_of(state: Mapping[str, np.ndarray], part: str) -> State:
    """Return the arrays named `<part>/...`, without the part's name."""
    return {name.removeprefix(f"{part}/"): array for name, array in state.items() if name.startswith(f"{part}/")}

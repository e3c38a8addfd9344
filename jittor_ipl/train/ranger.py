"""Ranger, with which StyleCLIP trains its mappers: rectified Adam, looking ahead, on centred gradients.

RAdam: Liu et al. 2020; Lookahead: Zhang et al. 2019; gradient centralisation: Yong et al. 2020; put together and named
by L. Wright. eps is added to the root of the second moment before the bias correction, as in his program.
"""
from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from jittor_ipl.runtime.backend import jt
from jittor_ipl.train.optim import unpacked

_RECTIFIED_FROM = 5.0       # samples in the moving average from which its variance is trusted


class Ranger:
    """Ranger over named tensors, updated in place; `params` maps names to float32 Vars of any shape.

    Every `k` steps the tensors move back to a slow copy that went the part `alpha` of the way. Every tensor counts its
    own steps.
    """

    def __init__(self, params: Mapping[str, jt.Var], lr: float, betas: tuple[float, float] = (0.95, 0.999),
                 eps: float = 1e-5, alpha: float = 0.5, k: int = 6):
        self.params, self.lr, self.betas, self.eps, self.alpha, self.k = dict(params), lr, betas, eps, alpha, k
        self.steps = dict.fromkeys(self.params, 0)
        self.kept: dict[str, dict[str, jt.Var]] = {"first": {}, "second": {}, "slow": {}}

    def step(self, grads: Mapping[str, jt.Var], lr: float | None = None) -> None:
        """Update the tensors named in `grads`, each of its parameter's shape; `lr` replaces the constructor's rate."""
        rate = self.lr if lr is None else lr
        with jt.no_grad():
            for name, grad in grads.items():
                self._update(name, grad, rate)
        # Now: a lazy graph left over from step to step would grow without end.
        jt.sync([var for name in grads for var in (self.params[name], *(kept[name] for kept in self.kept.values()))])

    def _update(self, name: str, grad: jt.Var, rate: float) -> None:
        param = self.params[name]
        assert tuple(grad.shape) == tuple(param.shape), (name, grad.shape, param.shape)
        if name not in self.kept["first"]:
            self.kept["first"][name], self.kept["second"][name] = jt.zeros_like(param), jt.zeros_like(param)
            self.kept["slow"][name] = param.copy()
        self.steps[name] += 1
        grad = centred(grad)
        (beta1, beta2), step = self.betas, self.steps[name]
        first = self.kept["first"][name] = self.kept["first"][name] * beta1 + grad * (1 - beta1)
        second = self.kept["second"][name] = self.kept["second"][name] * beta2 + grad * grad * (1 - beta2)
        scale, rectified = step_size(step, beta1, beta2)
        change = first / (jt.sqrt(second) + self.eps) if rectified else first
        new = param - change * (rate * scale)
        if step % self.k == 0:
            new = self.kept["slow"][name] = self.kept["slow"][name] + (new - self.kept["slow"][name]) * self.alpha
        param.update(new).start_grad()          # made under no_grad: it must learn again

    def minimise(self, loss: jt.Var, lr: float | None = None) -> None:
        """Update all tensors along the gradient of `loss` [1]."""
        self.step(dict(zip(self.params, jt.grad(loss, list(self.params.values())))), lr)

    def state(self) -> dict[str, np.ndarray]:
        """Return what a bit-exact resume needs besides the parameters: `first/`, `second/`, `slow/`, `steps/`."""
        out = {f"steps/{name}": np.int32([count]) for name, count in self.steps.items() if count}
        return out | {f"{slot}/{name}": var.numpy() for slot, kept in self.kept.items() for name, var in kept.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state()` returned; AssertionError when a name or shape is not a parameter's."""
        self.steps, slots = unpacked(state, self.params, self.kept)
        self.kept = {slot: {name: jt.array(value).reshape(self.params[name].shape).stop_grad()
                            for name, value in arrays.items()} for slot, arrays in slots.items()}
        jt.sync([var for kept in self.kept.values() for var in kept.values()])


def centred(grad: jt.Var) -> jt.Var:
    """Return a gradient less the mean of each row, everything behind the first axis; vectors as they are."""
    if grad.ndim < 2:
        return grad
    flat = grad.reshape(grad.shape[0], -1)
    return (flat - flat.sum(1, keepdims=True) / float(flat.shape[1])).reshape(grad.shape)


def step_size(step: int, beta1: float, beta2: float) -> tuple[float, bool]:
    """Return RAdam's factor of the learning rate at a step (1 is the first), and whether the variance is divided by."""
    power, longest = beta2 ** step, 2 / (1 - beta2) - 1
    samples = longest - 2 * step * power / (1 - power)
    correction = 1 - beta1 ** step
    if samples <= _RECTIFIED_FROM:
        return 1 / correction, False
    rectified = (samples - 4) / (longest - 4) * (samples - 2) / samples * longest / (longest - 2)
    return math.sqrt((1 - power) * rectified) / correction, True

"""Adam, AdamW, an exponential moving average and learning-rate schedules, equal to PyTorch's numbers.

Jittor's own Adam puts eps inside the bias correction and moves parameters that have no gradient, so it is not used.
Each tensor is updated by one kernel in one pass over memory; the kernel is compiled once, whatever the shape.
"""
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from jittor_ipl.ops.kernel import Kernel
from jittor_ipl.runtime.backend import jt

# One element of Adam in the operation order of torch.optim.Adam (single-tensor path): the first moment is a linear
# interpolation whose form depends on its weight, and eps is added after the bias correction of the second moment.
_ADAM = Kernel(
    shared="""
struct AdamNumbers { float keep1, take1, keep2, take2, root2, eps, step, decay, l2; };
#define ADAM_NUMBERS {(float)data["keep1"], (float)data["take1"], (float)data["keep2"], (float)data["take2"], \\
    (float)data["root2"], (float)data["eps"], (float)data["step"], (float)data["decay"], (float)data["l2"]}
IPL_BOTH void adam_element(const AdamNumbers& n, float p, float g, float m, float v, float& p1, float& m1, float& v1) {
    if (n.l2 != 0.0f) g = g + n.l2 * p;
    p = p * n.decay;
    m1 = n.take1 < 0.5f ? m + n.take1 * (g - m) : g - (g - m) * n.keep1;
    v1 = v * n.keep2 + n.take2 * (g * g);
    p1 = p - n.step * (m1 / (sqrtf(v1) / n.root2 + n.eps));
}
""",
    cpu="""
const AdamNumbers n = ADAM_NUMBERS;
for (int i = 0; i < in0_shape0; i++)
    adam_element(n, in0_p[i], in1_p[i], in2_p[i], in3_p[i], out0_p[i], out1_p[i], out2_p[i]);
""",
    cuda_kernels="""
__global__ static void adam(AdamNumbers n, int count, const float* p, const float* g, const float* m, const float* v,
                            float* p1, float* m1, float* v1) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) adam_element(n, p[i], g[i], m[i], v[i], p1[i], m1[i], v1[i]);
}
""",
    cuda="""
const AdamNumbers n = ADAM_NUMBERS;
adam<<<IPL_GRID(in0_shape0)>>>(n, in0_shape0, in0_p, in1_p, in2_p, in3_p, out0_p, out1_p, out2_p);
""")


class Adam:
    """Adam or AdamW over named tensors, updated in place; matches torch.optim.Adam/AdamW (Kingma & Ba 2015).

    `params` maps names to float32 Vars of any shape. `weight_decay` is an L2 term, or decoupled with `decoupled=True`
    (AdamW). Every tensor counts its own steps, so one that gets no gradient does not move and does not age.
    """

    def __init__(self, params: Mapping[str, jt.Var], lr: float, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 0.0, decoupled: bool = False):
        self.params, self.lr, self.betas, self.eps = dict(params), lr, (float(betas[0]), float(betas[1])), eps
        self.weight_decay, self.decoupled = weight_decay, decoupled
        self.steps = dict.fromkeys(self.params, 0)
        self.first: dict[str, jt.Var] = {}
        self.second: dict[str, jt.Var] = {}

    def step(self, grads: Mapping[str, jt.Var], lr: float | None = None) -> None:
        """Update the tensors named in `grads`, each of its parameter's shape; `lr` replaces the constructor's rate."""
        lr = self.lr if lr is None else lr
        with jt.no_grad():
            for name, grad in grads.items():
                param = self.params[name]
                assert tuple(grad.shape) == tuple(param.shape), (name, grad.shape, param.shape)
                if name not in self.first:
                    for moments in (self.first, self.second):
                        moments[name] = _constant(np.zeros(param.numel(), np.float32))
                self.steps[name] += 1
                flat = [param.reshape(-1), grad.reshape(-1), self.first[name], self.second[name]]
                new, self.first[name], self.second[name] = _ADAM(
                    [flat[0].shape] * 3, flat, **self._numbers(self.steps[name], lr))
                param.update(new.reshape(param.shape)).start_grad()      # made under no_grad: it must learn again
        # Now: a lazy graph left over from step to step would grow without end.
        jt.sync([tensors[name] for name in grads for tensors in (self.params, self.first, self.second)])

    def minimise(self, loss: jt.Var, lr: float | None = None) -> None:
        """Update all tensors along the gradient of `loss` [1]."""
        self.step(dict(zip(self.params, jt.grad(loss, list(self.params.values())))), lr)

    def _numbers(self, step: int, lr: float) -> dict[str, float]:
        beta1, beta2 = self.betas
        decay = self.weight_decay
        return {"keep1": beta1, "take1": 1 - beta1, "keep2": beta2, "take2": 1 - beta2, "eps": self.eps,
                "root2": math.sqrt(1 - beta2 ** step), "step": lr / (1 - beta1 ** step),
                "decay": 1 - lr * decay if self.decoupled else 1.0, "l2": 0.0 if self.decoupled else decay}

    def state(self) -> dict[str, np.ndarray]:
        """Return what a bit-exact resume needs besides the parameters: `first/`, `second/` and `steps/` per name."""
        out = {f"steps/{name}": np.int32([count]) for name, count in self.steps.items() if count}
        for name in self.first:
            out[f"first/{name}"], out[f"second/{name}"] = self.first[name].numpy(), self.second[name].numpy()
        return out

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state()` returned; AssertionError when a name or size is not a parameter's."""
        self.steps, moments = unpacked(state, self.params, ("first", "second"))
        self.first, self.second = ({name: _constant(np.ascontiguousarray(value, np.float32).reshape(-1))
                                    for name, value in arrays.items()} for arrays in moments.values())


def unpacked(state: Mapping[str, np.ndarray], params: Mapping[str, jt.Var],
             slots: Iterable[str]) -> tuple[dict[str, int], dict[str, dict[str, np.ndarray]]]:
    """Return what an optimiser's `state()` consists of: the steps of every parameter, and by slot arrays by parameter.

    `state` names them "steps/<parameter>" [1] and "<slot>/<parameter>", of the parameter's size; a parameter without
    steps has 0. AssertionError when a name or size is not a parameter's, KeyError for a slot that is none of `slots`.
    """
    steps: dict[str, int] = dict.fromkeys(params, 0)
    arrays: dict[str, dict[str, np.ndarray]] = {slot: {} for slot in slots}
    for key, value in state.items():
        slot, _, name = key.partition("/")
        assert name in params, f"optimiser state names an unknown tensor {name!r}"
        if slot == "steps":
            steps[name] = int(value[0])
        else:
            assert value.size == params[name].numel(), (key, value.shape)
            arrays[slot][name] = value
    return steps, arrays


# As average + take * (value - average): a value that never moves keeps its bits.
_EMA = Kernel(
    shared="IPL_BOTH float ema_element(float take, float a, float b) { return a + take * (b - a); }",
    cpu="""
const float take = data["take"];
for (int i = 0; i < in0_shape0; i++) out0_p[i] = ema_element(take, in0_p[i], in1_p[i]);
""",
    cuda_kernels="""
__global__ static void ema(float take, int count, const float* a, const float* b, float* out) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) out[i] = ema_element(take, a[i], b[i]);
}
""",
    cuda='ema<<<IPL_GRID(in0_shape0)>>>((float)data["take"], in0_shape0, in0_p, in1_p, out0_p);')


class Ema:
    """Exponential moving average of named tensors: `average = decay * average + (1 - decay) * value` per `update()`.

    It starts as a copy of `params` (name -> float32 Var, any shape) and never changes them.
    """

    def __init__(self, params: Mapping[str, jt.Var], decay: float):
        self.params, self.decay = dict(params), float(decay)
        self.average = {name: _constant(p.numpy().reshape(-1)) for name, p in self.params.items()}

    def update(self) -> None:
        """Move the averages one step towards the present values."""
        with jt.no_grad():
            for name, average in self.average.items():
                pair = [average, self.params[name].reshape(-1)]
                self.average[name], = _EMA([average.shape], pair, take=1 - self.decay)
        jt.sync(list(self.average.values()))      # now, as in Adam.step

    def state(self) -> dict[str, np.ndarray]:
        """Return the averages in the parameters' shapes."""
        return {name: a.numpy().reshape(self.params[name].shape) for name, a in self.average.items()}

    def load_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Take back what `state()` returned; AssertionError unless the names are the same."""
        assert set(state) == set(self.average), set(state) ^ set(self.average)
        self.average = {name: _constant(np.ascontiguousarray(state[name], np.float32).reshape(-1))
                        for name in self.average}


def constant(lr: float, step: int, total: int) -> float:
    """Return `lr` at every step."""
    return lr


def cosine(lr: float, step: int, total: int, floor: float = 0.0) -> float:
    """Return half a cosine from `lr` at step 0 down to `floor` at step `total` (as torch's CosineAnnealingLR)."""
    return floor + (lr - floor) * 0.5 * (1 + math.cos(math.pi * min(step, total) / max(total, 1)))


def warmup(rate: float, step: int, steps: int) -> float:
    """Scale `rate` up linearly over the first `steps` steps (step 0 gets 1/steps of it)."""
    return rate * min(1.0, (step + 1) / max(steps, 1))


SCHEDULES = {"constant": constant, "cosine": cosine}


def _constant(values: np.ndarray) -> jt.Var:
    array = jt.array(values).stop_grad()
    array.sync()      # a lazy array of one element would be fused into the kernel that reads it
    return array

"""The CUDA source of every kernel, run on the CPU (emulation/launch.h), against the plain form of its operator.

Each case runs every kernel that it names six times: threads and blocks forwards, backwards and mixed, arrays that end
and that begin at a page which may not be touched, everything but the inputs NaN before. The bits must be the same.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from jittor_ipl.ops import (
    attention,
    bfloat16,
    bias_act,
    bmm,
    geglu,
    group_norm,
    linear,
    norms,
    pool,
    resize,
    sliced_attention,
)
from jittor_ipl.ops.kernel import Kernel
from jittor_ipl.ops.upfirdn2d import upfirdn2d, upfirdn2d_reference
from jittor_ipl.runtime import system
from jittor_ipl.runtime.backend import jt, nn
from jittor_ipl.train import optim
from tests.ops.cuda_source import all_kernels
from tests.ops.emulation.emulator import Emulator
from tests.ops.test_bfloat16 import to_bfloat16

TOLERANCE = 1e-5
KERNELS = all_kernels()
BLUR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 16
LEFT_OUT = np.random.RandomState(3).randn(4, 3)       # a filter that is no product of a column and a row
HIDDEN = np.where(np.random.RandomState(4).rand(13, 9) < .3, -np.inf, 0)


@dataclass(frozen=True)
class Case:
    """An operator, its plain form, the shapes of their inputs, and the kernels that value and gradients launch."""

    kernels: str
    operator: Callable
    reference: Callable
    shapes: Sequence[tuple[int, ...]]
    scale: float = 1.0


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return (np.random.RandomState(seed).randn(*shape) * scale).astype(np.float32)


def constant(array: np.ndarray) -> jt.Var:
    return jt.array(array.astype(np.float32)).stop_grad()


def windows(x: jt.Var, k: int, s: int, p: int, n: int, outside: float) -> jt.Var:
    """Return every window of `x` [B, C, H, W] as [B, C, n, n, k, k], `outside` where it leaves the picture."""
    b, c, h, w = x.shape
    row, column = f"i2*{s}+i4-{p}", f"i3*{s}+i5-{p}"
    return x.reindex([b, c, n, n, k, k], ["i0", "i1", row, column], overflow_value=outside)


def max_pool_reference(x: jt.Var, k: int, s: int, p: int, n: int) -> jt.Var:
    return windows(x, k, s, p, n, -1e30).max([4, 5])


def average_pool_reference(x: jt.Var, k: int, s: int, p: int, n: int) -> jt.Var:
    inside = windows(jt.ones(x.shape), k, s, p, n, 0).sum([4, 5])
    return windows(x, k, s, p, n, 0).sum([4, 5]) / inside


def resize_reference(x: jt.Var, size: tuple[int, int], mode: str, antialias: bool) -> jt.Var:
    rows, columns = (constant(resize.axis_matrix(n, m, mode, antialias)) for n, m in zip(x.shape[2:], size))
    b, c, h, w = x.shape
    y = nn.matmul_transpose(x.reshape(-1, w), columns).reshape(b * c, h, size[1]).permute(0, 2, 1)
    return nn.matmul_transpose(y.reshape(-1, h), rows).reshape(b, c, size[1], size[0]).permute(0, 1, 3, 2)


def rounded_reference(x: jt.Var) -> jt.Var:
    """Return the nearest bfloat16; the gradient is that of `x`."""
    return x + constant(to_bfloat16(x.numpy()) - x.numpy())


def attention_in_full(q: jt.Var, k: jt.Var, v: jt.Var, heads: int, mask: jt.Var | None = None) -> jt.Var:
    """All scores at once, with Jittor's operators alone."""
    (b, n, width), m = q.shape, k.shape[1]
    q, k, v = (x.reshape(b, -1, heads, width // heads).permute(0, 2, 1, 3) for x in (q, k, v))
    scores = nn.matmul(q, k.permute(0, 1, 3, 2)) * (width // heads)**-0.5
    scores = scores if mask is None else scores + mask.reshape(1, 1, n, m)
    return nn.matmul(attention.softmax_reference(scores), v).permute(0, 2, 1, 3).reshape(b, n, width)


def filters(kernel: np.ndarray, *how) -> tuple[Callable, Callable]:
    return (lambda x: upfirdn2d(x, constant(kernel), *how), lambda x: upfirdn2d_reference(x, constant(kernel), *how))


def sliced(heads: int, masked: bool) -> tuple[Callable, Callable]:
    mask = constant(HIDDEN) if masked else None
    given = jt.zeros([1, 1]) if mask is None else mask
    return (lambda *x: sliced_attention.SlicedAttention(heads, masked)(*x, given),
            lambda *x: attention_in_full(*x, heads, mask))


POOLS = "pool.POOL pool.UNPOOL"
NORM = "group_norm.FORWARD group_norm.BACKWARD"
SLICED = "sliced_attention.FORWARD sliced_attention.BACKWARD"
CASES = {
    "bias_act": Case("bias_act.FORWARD bias_act.BACKWARD", bias_act.bias_act, bias_act.bias_act_reference,
                     [(3, 5, 7, 13), (5,)]),
    "bias_act of rows": Case("bias_act.FORWARD bias_act.BACKWARD", bias_act.bias_act, bias_act.bias_act_reference,
                             [(1, 1), (1,)]),
    "bmm": Case("bmm.PRODUCT", bmm.bmm, nn.bmm, [(3, 5, 17), (3, 17, 7)]),
    "bmm, transposed": Case("bmm.PRODUCT", lambda a, b: bmm.bmm(a, b, True), nn.bmm_transpose, [(2, 5, 3), (2, 9, 3)]),
    "rounding": Case("bfloat16.ROUND", bfloat16.rounded, rounded_reference, [(7, 43)]),
    "softmax": Case("attention.SOFTMAX attention.SOFTMAX_GRAD", attention.softmax, attention.softmax_reference,
                    [(3, 5, 301)], scale=3),
    "softmax of one": Case("attention.SOFTMAX attention.SOFTMAX_GRAD", attention.softmax, attention.softmax_reference,
                           [(4, 1)]),
    "attention": Case(SLICED, *sliced(2, False), [(2, 13, 10), (2, 9, 10), (2, 9, 10)]),
    "attention, masked": Case(SLICED, *sliced(3, True), [(1, 13, 9), (1, 9, 9), (1, 9, 9)]),
    "geglu": Case("geglu.FORWARD geglu.BACKWARD", geglu.geglu, geglu.geglu_reference, [(3, 5, 134)], scale=3),
    "layer_norm": Case("layer_norm.FORWARD layer_norm.BACKWARD", norms.layer_norm, norms.layer_norm_reference,
                       [(3, 7, 301), (301,), (301,)]),
    "layer_norm, narrow": Case("layer_norm.FORWARD layer_norm.BACKWARD", norms.layer_norm, norms.layer_norm_reference,
                               [(5, 3), (3,), (3,)]),
    "group_norm": Case(NORM, lambda x, w, b: group_norm.group_norm(x, 3, w, b),
                       lambda x, w, b: norms.group_norm_reference(x, 3, w, b), [(2, 6, 7, 13), (6,), (6,)]),
    "group_norm and silu": Case(NORM, lambda x, w, b: group_norm.group_norm(x, 2, w, b, silu=True),
                                lambda x, w, b: norms.group_norm_reference(x, 2, w, b, silu=True),
                                [(3, 4, 17, 17), (4,), (4,)]),
    "linear": Case("linear.DOTS", linear.linear, nn.matmul_transpose, [(2, 261), (3, 261)]),
    "max_pool": Case(POOLS, lambda x: pool.max_pool(x, 3, 2), lambda x: max_pool_reference(x, 3, 2, 0, 6),
                     [(2, 3, 13, 13)]),
    "max_pool, padded": Case(POOLS, lambda x: pool.max_pool(x, 3, 2, 1, ceil=True),
                             lambda x: max_pool_reference(x, 3, 2, 1, 5), [(1, 2, 8, 8)]),
    "average_pool": Case(POOLS, lambda x: pool.average_pool(x, 3, 1, 1),
                         lambda x: average_pool_reference(x, 3, 1, 1, 11), [(2, 2, 11, 11)]),
    "resize": Case("resize.GATHER", lambda x: resize.resize(x, (5, 17), "bicubic", True),
                   lambda x: resize_reference(x, (5, 17), "bicubic", True), [(2, 3, 11, 7)]),
    "resize, cubic": Case("resize.GATHER", lambda x: resize.resize(x, (13, 3)),
                          lambda x: resize_reference(x, (13, 3), "bicubic", False), [(1, 2, 9, 7)]),
    "blur": Case("upfirdn2d.FILTER", *filters(BLUR, 1, 1, (2, 1)), [(2, 3, 7, 9)]),
    "upsampling": Case("upfirdn2d.FILTER", *filters(BLUR, 2, 1, (2, 1)), [(2, 3, 7, 9)]),
    "downsampling": Case("upfirdn2d.FILTER", *filters(BLUR, 1, 2, (1, 1)), [(2, 3, 9, 8)]),
    "a filter of any kind": Case("upfirdn2d.FILTER", *filters(LEFT_OUT, 3, 2, (-1, 4)), [(1, 2, 6, 5)]),
}


OPTIMISERS = {
    "adam": ("optim._ADAM", lambda params: optim.Adam(params, 0.01, weight_decay=0.1)),
    "adamw": ("optim._ADAM", lambda params: optim.Adam(params, 0.01, (0.4, 0.99), weight_decay=0.1, decoupled=True)),
    "ema": ("optim._EMA", lambda params: optim.Ema(params, 0.9)),
}


@pytest.fixture(scope="module")
def emulator(tmp_path_factory) -> Emulator:
    return Emulator(KERNELS, tmp_path_factory.mktemp("emulation"), system.compiler())


@pytest.fixture
def emulated(emulator, monkeypatch) -> Emulator:
    """Kernels run through the emulation, in the form that they take on a GPU, attention in slices of few queries."""
    def call(kernel, shapes, inputs, /, **numbers):
        return [jt.array(y) for y in emulator.run(kernel, shapes, [x.numpy() for x in inputs], **numbers)]

    emulator.launched.clear()
    monkeypatch.setattr(Kernel, "__call__", call)
    monkeypatch.setattr(sliced_attention, "on_gpu", lambda: True)
    monkeypatch.setattr(sliced_attention, "CUDA_SCRATCH", 100)
    return emulator


def value_and_gradients(operator: Callable, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    variables = [jt.array(x) for x in inputs]
    y = operator(*variables)
    cotangent = jt.array(draw(*y.shape, seed=9))
    return [v.numpy() for v in (y, *jt.grad((y * y * cotangent).sum(), variables))]


@pytest.mark.parametrize("name", CASES)
def test_cuda_source_gives_the_plain_form(name, request):
    case = CASES[name]
    inputs = [draw(*shape, seed=seed, scale=case.scale) for seed, shape in enumerate(case.shapes)]
    wanted = value_and_gradients(case.reference, inputs)
    emulator = request.getfixturevalue("emulated")
    found = value_and_gradients(case.operator, inputs)
    for what, got, want in zip(("value", *(f"gradient {n}" for n in range(len(inputs)))), found, wanted):
        error = np.abs(got - want).max() / max(np.abs(want).max(), 1e-9)
        print(f"{name}, {what}: {error:.1e}")
        assert got.shape == want.shape and error < TOLERANCE, f"{name}, {what}: relative error {error:.1e}"
    assert emulator.launched == set(case.kernels.split())


def three_steps(make: Callable) -> list[np.ndarray]:
    """Return the parameters and the state after three steps of Adam, or of an average that follows."""
    params = {"w": jt.array(draw(7, 43))}
    part = make(params)
    for seed in range(1, 4):
        if isinstance(part, optim.Ema):
            params["w"].update(jt.array(draw(7, 43, seed=seed)))
            part.update()
        else:
            part.step({"w": jt.array(draw(7, 43, seed=seed))})
    return [params["w"].numpy(), *part.state().values()]


@pytest.mark.parametrize("name", OPTIMISERS)
def test_cuda_source_of_an_optimiser_steps_as_the_cpu_does(name, request):
    """The CPU's steps are PyTorch's: tests/train/test_optim.py."""
    kernel, make = OPTIMISERS[name]
    wanted = three_steps(make)
    emulator = request.getfixturevalue("emulated")
    for got, want in zip(three_steps(make), wanted, strict=True):
        assert np.abs(got - want).max() <= TOLERANCE * np.abs(want).max()
    assert emulator.launched == {kernel}


def test_every_kernel_has_a_case():
    covered = {name for case in CASES.values() for name in case.kernels.split()}
    covered |= {name for name, _ in OPTIMISERS.values()}
    assert covered == KERNELS.keys(), f"without a case: {KERNELS.keys() - covered}; gone: {covered - KERNELS.keys()}"


# --- what the emulation finds -----------------------------------------------------------------------------------------

def faulty(kernel: str, launch: str = "wrong<<<3, 256>>>(in0_p, out0_p, in0_shape0);") -> Kernel:
    arguments = "float*" if "x[i] =" in kernel else "const float*"
    return Kernel(cpu="", cuda=launch, cuda_kernels=f"""
    static __global__ void wrong({arguments} x, float* y, long n) {{
        __shared__ float part[256];
        const long i = blockIdx.x * 256 + threadIdx.x;
        {kernel}
    }}""")


FAULTS = {
    "reads beyond": (faulty("if (i <= n) y[i % n] = x[i];"), "touches in0, byte 2400 of 2400"),
    "reads before": (faulty("if (i < n) y[i] = x[i - 1];"), "touches in0, byte -4 of 2400"),
    "writes beyond": (faulty("y[i] = 1;"), "touches out0, byte"),
    "writes an input": (faulty("if (i < n) y[i] = x[i] = 1;"), "writes the input in0"),
    "forgets a barrier": (faulty("part[threadIdx.x] = i < n ? x[i] : 0; if (i < n) y[i] = part[255 - threadIdx.x];"),
                          "out0 depends on the order of threads"),
    "writes to one place": (faulty("if (i < n) y[i / 2] = x[i];"), "out0 depends on the order of threads"),
    "waits in part of a block": (faulty("if (i < n) { y[i] = x[i]; __syncthreads(); }"), "waits at a barrier"),
    "asks for no block": (faulty("", "wrong<<<0, 256>>>(in0_p, out0_p, in0_shape0);"), "a launch of 0 blocks"),
    "asks for a large block": (faulty("", "wrong<<<1, 2048>>>(in0_p, out0_p, in0_shape0);"), "2048 threads"),
}
FAULTS["asks cuBLAS for what is impossible"] = (Kernel(cpu="", cuda_kernels=bmm.CUBLAS, cuda="""
    const float one = 1, zero = 0;
    ipl_accepted(cublasSgemmStridedBatched(ipl_cublas(), CUBLAS_OP_N, CUBLAS_OP_N, in0_shape0, 1, 1, &one, in0_p, 1, 0,
                                           in0_p, 1, 0, &zero, out0_p, in0_shape0, 0, 1));"""), "status 7")
LEAVES_OUT = faulty("if (i + 1 < n) y[i] = x[i];")


@pytest.fixture(scope="module")
def faults(tmp_path_factory) -> Emulator:
    kernels = {name: kernel for name, (kernel, _) in FAULTS.items()} | {"leaves out": LEAVES_OUT}
    return Emulator({name.replace(" ", "_"): kernel for name, kernel in kernels.items()},
                    tmp_path_factory.mktemp("faults"), system.compiler())


@pytest.mark.parametrize("name", FAULTS)
def test_the_emulation_finds_what_a_kernel_must_not_do(name, faults):
    kernel, said = FAULTS[name]
    with pytest.raises(AssertionError, match=said):
        faults.run(kernel, [[600]], [draw(600)])


def test_what_a_kernel_leaves_out_is_nan(faults):
    y, = faults.run(LEAVES_OUT, [[600]], [draw(600)])
    assert np.array_equal(np.isnan(y), np.arange(600) == 599)

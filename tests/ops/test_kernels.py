"""Every kernel against its reference: values, gradients and, where promised, gradients of gradients."""
from __future__ import annotations

import ctypes
import math
import os

import numpy as np
import pytest

from jittor_ipl.ops import attention, bias_act, bmm, conv, exponential, frozen, geglu, group_norm, norms, upfirdn2d
from jittor_ipl.ops.kernel import Kernel
from jittor_ipl.runtime.backend import jt

BLUR = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64


def draw(*shape: int, seed: int = 0, scale: float = 1.0) -> jt.Var:
    return jt.array((np.random.RandomState(seed).randn(*shape) * scale).astype(np.float32))


def assert_same(got: jt.Var, want: jt.Var, what: str, tolerance: float = 2e-6) -> None:
    got, want = got.numpy(), want.numpy()
    assert got.shape == want.shape, what
    error = np.abs(got - want).max() / max(np.abs(want).max(), 1e-9)
    print(f"{what}: {error:.1e}")
    assert error < tolerance, f"{what}: relative error {error:.1e}"


def assert_operators_agree(fast, slow, inputs: list[jt.Var], second: bool = True,
                           tolerance: float = 5e-6) -> None:
    """Compare two operators through a loss that is not linear in their output."""
    got, want = fast(*inputs), slow(*inputs)
    assert_same(got, want, "value")
    cotangent = draw(*got.shape, seed=9)
    gradients = [jt.grad((y * y * cotangent).sum(), inputs) for y in (got, want)]
    for index, pair in enumerate(zip(*gradients)):
        assert_same(*pair, f"gradient {index}", tolerance)
    if second:
        seconds = [jt.grad(sum((g * g * g).sum() for g in group), inputs) for group in gradients]
        for index, pair in enumerate(zip(*seconds)):
            assert_same(*pair, f"second gradient {index}", 2e-5)


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 7), (3, 5, 7, 9), (1, 1, 1, 1)])
@pytest.mark.parametrize("slope,gain", [(0.2, 2**0.5), (0.01, 1.0)])
def test_bias_act(shape, slope, gain):
    def fast(x, bias):
        return bias_act.bias_act(x, bias, slope, gain)

    def slow(x, bias):
        return bias_act.bias_act_reference(x, bias, slope, gain)

    assert_operators_agree(fast, slow, [draw(*shape), draw(shape[1], seed=1)])


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("b,n,k,m", [(6, 5, 7, 4), (1, 1, 1, 1), (3, 17, 33, 50)])
def test_bmm(b, n, k, m, transposed):
    right = draw(b, m, k, seed=1) if transposed else draw(b, k, m, seed=1)
    assert_operators_agree(lambda x, y: bmm.bmm(x, y, transposed), jt.nn.bmm_transpose if transposed else jt.nn.bmm,
                           [draw(b, n, k), right])


@pytest.mark.parametrize("size", [(7, 9), (8, 5), (33, 17)])
@pytest.mark.parametrize("up,down,pad", [(1, 1, (2, 1)), (2, 1, (2, 1)), (1, 2, (1, 1)), (2, 2, (-1, 3)),
                                         (3, 2, (2, -1)), (1, 1, (-1, 4)), (2, 1, (5, 6)), (1, 2, (6, 5)),
                                         (1, 1, (0, 0))])
@pytest.mark.parametrize("name", ["blur", "full", "separable", "single"])
def test_upfirdn2d(name, up, down, pad, size):
    random = np.random.RandomState(3)
    kernel = {"blur": BLUR, "full": random.randn(4, 4), "separable": np.outer(random.randn(3), random.randn(5)),
              "single": random.randn(1, 1)}[name].astype(np.float32)
    x = draw(2, 3, *size)
    got = upfirdn2d.upfirdn2d(x, jt.array(kernel), up, down, pad)
    want = upfirdn2d_numpy(x.numpy(), kernel, up, down, pad)
    assert got.shape == want.shape and np.abs(got.numpy() - want).max() <= 3e-6 * np.abs(want).max()
    cotangent = np.random.RandomState(4).randn(*want.shape).astype(np.float32)
    gradient = jt.grad((got * jt.array(cotangent)).sum(), x).numpy()
    direction = np.random.RandomState(5).randn(*x.shape).astype(np.float32)
    moved = upfirdn2d_numpy(direction, kernel, up, down, pad)  # the operator is linear, so this is exact
    assert abs((gradient * direction).sum() - (cotangent * moved).sum()) <= 1e-4 * np.abs(cotangent * moved).sum()


def upfirdn2d_numpy(x, kernel, up, down, pad):
    """The definition, step by step: stuff with zeros, pad or crop, convolve, thin out."""
    b, c, h, w = x.shape
    stuffed = np.zeros((b, c, h * up, w * up))
    stuffed[:, :, ::up, ::up] = x
    grown = [max(side, 0) for side in pad]
    stuffed = np.pad(stuffed, [(0, 0), (0, 0), grown, grown])
    first, last = max(-pad[0], 0), max(-pad[1], 0)
    stuffed = stuffed[:, :, first:stuffed.shape[2] - last, first:stuffed.shape[3] - last]
    windows = np.lib.stride_tricks.sliding_window_view(stuffed, kernel.shape, axis=(2, 3))
    return np.einsum("bchwij,ij->bchw", windows, kernel[::-1, ::-1])[:, :, ::down, ::down]


@pytest.mark.parametrize("up,down,pad", [(2, 1, (2, 1)), (1, 2, (1, 1)), (2, 2, (-1, 3))])
def test_upfirdn2d_is_differentiable_twice(up, down, pad):
    kernel = jt.array(BLUR.astype(np.float32))
    assert_operators_agree(lambda x: upfirdn2d.upfirdn2d(x, kernel, up, down, pad),
                           lambda x: upfirdn2d.upfirdn2d_reference(x, kernel, up, down, pad), [draw(2, 3, 7, 9)])


@pytest.mark.parametrize("shape", [(3, 70, 50), (2, 1), (5, 33)])
def test_softmax(shape):
    assert_operators_agree(attention.softmax, attention.softmax_reference, [draw(*shape, scale=3)], second=False)


def test_layer_norm():
    assert_operators_agree(norms.layer_norm, norms.layer_norm_reference,
                           [draw(5, 13, 50), draw(50, seed=1), draw(50, seed=2)], second=False)


@pytest.mark.parametrize("silu", [False, True])
@pytest.mark.parametrize("shape,groups", [((3, 6, 5, 7), 3), ((1, 8, 1, 1), 2), ((2, 4, 33, 37), 4), ((5, 9), 1)])
def test_group_norm(shape, groups, silu):
    inputs = [draw(*shape), draw(shape[1], seed=1), draw(shape[1], seed=2)]
    assert_operators_agree(lambda *v: group_norm.group_norm(v[0], groups, *v[1:], silu=silu),
                           lambda *v: norms.group_norm_reference(v[0], groups, *v[1:], silu=silu), inputs, second=False,
                           tolerance=2e-5)   # sums of terms up to a hundred times as large as the largest sum


@pytest.mark.parametrize("shift", [0, 1000])
def test_group_norm_is_the_formula(shift):
    x, weight, bias = draw(2, 6, 40, 41) + shift, draw(6, seed=1), draw(6, seed=2)
    grouped = x.numpy().astype(np.float64).reshape(2, 3, -1)
    want = (grouped - grouped.mean(-1, keepdims=True)) / np.sqrt(grouped.var(-1, keepdims=True) + 1e-5)
    want = want.reshape(x.shape) * weight.numpy()[:, None, None] + bias.numpy()[:, None, None]
    error = np.abs(group_norm.group_norm(x, 3, weight, bias, silu=True).numpy() - want / (1 + np.exp(-want))).max()
    print(f"largest error {error:.1e}")
    assert error < (1e-6 if shift == 0 else 2e-4)   # the mean itself is rounded to 1000 * 2^-24


def test_group_norm_has_the_same_bits_with_any_number_of_threads():
    set_threads = ctypes.CDLL("libgomp.so.1").omp_set_num_threads
    inputs, cotangent = [draw(3, 10, 9, 17), draw(10, seed=1), draw(10, seed=2)], draw(3, 10, 9, 17, seed=3)
    results = []
    for threads in (1, 2, 5):
        set_threads(threads)
        y = group_norm.group_norm(inputs[0], 5, *inputs[1:], silu=True)
        results.append([v.numpy().tobytes() for v in (y, *jt.grad((y * cotangent).sum(), inputs))])
    set_threads(len(os.sched_getaffinity(0)))
    assert results[0] == results[1] == results[2]


def test_the_exponential():
    kernel = Kernel(shared=exponential.EXP, cpu_extra="", cuda_kernels="", cuda="",
                    cpu="for (long i = 0; i < in0_shape0; i++) out0_p[i] = ipl_exp(in0_p[i]);")
    x = np.concatenate([np.linspace(-87, 88, 300001), np.linspace(-1, 1, 100001)]).astype(np.float32)
    want = np.exp(x.astype(np.float64))
    error = np.abs(kernel([x.shape], [jt.array(x)])[0].numpy() / want - 1).max()
    print(f"largest relative error {error:.2e}")
    assert error < 1.2e-7
    ends = kernel([[4]], [jt.array(np.array([-np.inf, -1e4, np.nan, 0], np.float32))])[0].numpy()
    assert ends[0] == ends[1] == 0 and np.isnan(ends[2]) and ends[3] == 1


@pytest.mark.parametrize("shape", [(2, 3, 8), (5, 70), (1, 1, 2)])
def test_geglu(shape):
    assert_operators_agree(geglu.geglu, geglu.geglu_reference, [draw(*shape, scale=3)], second=False)


def test_the_gate_of_geglu_is_the_exact_gelu():
    x = np.linspace(-13, 13, 20001).astype(np.float32)
    want = np.array([v * math.erfc(-v / math.sqrt(2)) / 2 for v in x.astype(np.float64)])
    got = geglu.geglu(jt.array(np.concatenate([np.ones_like(x), x])[None])).numpy()[0]
    near = (abs(x) < 3) & (x != 0)
    relative = np.abs(got[near] / want[near] - 1).max()
    print(f"largest error {np.abs(got - want).max():.1e}, relative where |x| < 3 {relative:.1e}")
    assert np.abs(got - want).max() < 1e-6 and relative < 1e-6


@pytest.mark.parametrize("rank", [0, 2])
def test_a_frozen_linear_layer(rank):
    weight, bias = draw(6, 5, seed=1).stop_grad(), draw(6, seed=2).stop_grad()
    inputs = [draw(2, 3, 5), *((draw(rank, 5, seed=3), draw(6, rank, seed=4)) if rank else ())]

    def slow(x, down=None, up=None):
        y = jt.nn.matmul_transpose(x, weight) + bias
        return y if down is None else y + jt.nn.matmul_transpose(jt.nn.matmul_transpose(x, down), up) * 0.5

    assert_operators_agree(lambda x, *lora: frozen.frozen_linear(x, weight, bias, *lora, scale=0.5), slow, inputs)


@pytest.mark.parametrize("stride,padding", [(1, 1), (2, 1), (2, 0)])
def test_a_frozen_convolution(stride, padding):
    weight, bias = draw(6, 4, 3, 3, seed=1).stop_grad(), draw(6, seed=2).stop_grad()
    assert_operators_agree(lambda x: frozen.frozen_conv2d(x, weight, bias, stride, padding),
                           lambda x: conv.conv2d(x, weight, stride, padding) + bias.reshape(1, -1, 1, 1),
                           [draw(2, 4, 9, 8)])


def test_a_second_derivative_that_is_not_there_raises():
    x = draw(4, 20)
    gradient = jt.grad((attention.softmax(x) ** 2).sum(), x)
    with pytest.raises(Exception, match="no second derivative"):
        jt.grad((gradient * gradient).sum(), x).sync()


@pytest.mark.parametrize("asked, masked", [(19, False), (19, True), (7, False)])
def test_attention_is_the_formula(asked, masked):
    q, k, v = (draw(2, 3, n, 8, seed=seed) for seed, n in enumerate((asked, 19, 19)))
    mask = np.triu(np.full((19, 19), -np.inf, np.float32), 1) if masked else None
    side_by_side = [x.permute(0, 2, 1, 3).reshape(2, -1, 24) for x in (q, k, v)]
    got = attention.attention(*side_by_side, 3, None if mask is None else jt.array(mask)).numpy()
    scores = np.einsum("bhid,bhjd->bhij", q.numpy(), k.numpy()).astype(np.float64) / np.sqrt(8)
    weights = np.exp(scores - scores.max(-1, keepdims=True)) if mask is None else np.exp(scores + mask)
    weights /= weights.sum(-1, keepdims=True)
    wanted = (weights @ v.numpy()).transpose(0, 2, 1, 3).reshape(2, asked, 24)
    assert np.abs(got - wanted).max() < 1e-5


@pytest.mark.parametrize("n,m,heads,d,masked", [(3, 5, 2, 4, False), (300, 77, 1, 7, False), (1100, 33, 2, 8, True),
                                                (257, 257, 3, 16, True), (1, 1, 1, 1, False)])
def test_attention_in_slices(n, m, heads, d, masked):
    """More queries than a slice (256) and than a unit of the gradient (1024), and no multiples of either."""
    hidden = np.random.RandomState(3).rand(n, m) < .3
    mask = jt.array(np.where(hidden, -np.inf, 0).astype(np.float32)) if masked else None
    assert_operators_agree(lambda *x: attention.attention(*x, heads, mask),
                           lambda *x: attention.attention_reference(*x, heads, mask),
                           [draw(2, n, heads * d), draw(2, m, heads * d, seed=1), draw(2, m, heads * d, seed=2)],
                           second=False, tolerance=2e-5)


def test_attention_keeps_its_bits_in_any_batch_and_with_any_number_of_threads():
    set_threads = ctypes.CDLL("libgomp.so.1").omp_set_num_threads
    inputs, cotangent, results = [draw(3, 1100, 24, seed=seed) for seed in range(3)], draw(3, 1100, 24, seed=3), []
    for threads, batch in ((1, 3), (2, 3), (5, 1)):
        set_threads(threads)
        some = [x[:batch].clone() for x in inputs]
        y = attention.attention(*some, 3)
        gradients = jt.grad((y * cotangent[:batch]).sum(), some)
        results.append([x.numpy()[:1].tobytes() for x in (y, *gradients)])
    set_threads(len(os.sched_getaffinity(0)))
    assert results[0] == results[1] == results[2]


def test_a_sample_does_not_depend_on_its_batch():
    x, bias, kernel = draw(3, 4, 9, 9), draw(4, seed=1), jt.array(BLUR.astype(np.float32))
    for operator in (lambda v: bias_act.bias_act(v, bias), lambda v: upfirdn2d.upfirdn2d(v, kernel, 2, 1, (2, 1)),
                     attention.softmax, lambda v: group_norm.group_norm(v, 2, bias, bias, silu=True)):
        assert np.array_equal(operator(x).numpy()[1:2], operator(x[1:2].clone()).numpy())

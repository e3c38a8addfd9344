"""StyleID and style-aligned attention: their formulas, and what must stay as it was."""
from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from tiny_model import load_tiny, picture

from jittor_ipl.config.lora import Sampling, StyleId
from jittor_ipl.diffusion.attention_control import attending, beside, inversion, self_attentions
from jittor_ipl.diffusion.pipeline import (
    decoded,
    encoded,
    first_noise,
    generate,
    predicted,
    text_denoiser,
    text_states,
)
from jittor_ipl.diffusion.samplers import euler, sampling_sigmas
from jittor_ipl.diffusion.schedule import noise_schedule, to_preserving
from jittor_ipl.diffusion.style_aligned import StyleReference, aligned, aligned_attention, shared_norm
from jittor_ipl.diffusion.style_id import adain, restyle, style_attention
from jittor_ipl.images.pixels import to_uint8
from jittor_ipl.models.layers import GroupNorm
from jittor_ipl.ops.attention import attention
from jittor_ipl.runtime.backend import jt

CLOSE = dict(rtol=1e-4, atol=1e-4)


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def numpy_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, heads: int) -> np.ndarray:
    """Return attention of [n, width] in float64."""
    out = []
    for h in np.split(np.arange(q.shape[1]), heads):
        logits = q[:, h].astype(np.float64) @ k[:, h].T / np.sqrt(len(h))
        weights = np.exp(logits - logits.max(1, keepdims=True))
        out.append(weights / weights.sum(1, keepdims=True) @ v[:, h])
    return np.concatenate(out, 1)


def test_style_attention_is_the_papers():
    q, k, v = (draw(seed, 3, 10, 8) for seed in (1, 2, 3))
    found = style_attention(0.75, 1.5, *map(jt.array, (q, k, v)), 2).numpy()
    wanted = [numpy_attention(q[0], k[0], v[0], 2), numpy_attention(q[1], k[1], v[1], 2),
              numpy_attention(1.5 * (0.75 * q[0] + 0.25 * q[2]), k[1], v[1], 2)]
    np.testing.assert_allclose(found, wanted, **CLOSE)


def test_style_attention_of_its_own_keys_changes_nothing():
    q, k, v = (jt.array(np.repeat(draw(seed, 1, 10, 8), 3, 0)) for seed in (1, 2, 3))
    for gamma in (0.0, 0.5, 1.0):
        np.testing.assert_allclose(style_attention(gamma, 1.0, q, k, v, 2).numpy(), attention(q, k, v, 2).numpy(),
                                   **CLOSE)


def test_aligned_attention_is_the_papers():
    q, k, v = (draw(seed, 4, 10, 8) * (1 + seed) + seed for seed in (1, 2, 3))
    found = aligned_attention(*map(jt.array, (q, k, v)), 2).numpy()

    def like(x: np.ndarray, reference: np.ndarray) -> np.ndarray:
        (m, s), (rm, rs) = ((y.mean(0), np.sqrt(y.var(0, ddof=1) + 1e-5)) for y in (x, reference))
        return (x - m) / s * rs + rm

    for row, reference in ((0, 0), (1, 0), (2, 2), (3, 2)):
        keys = np.concatenate([like(k[row], k[reference]), k[reference]])
        wanted = numpy_attention(like(q[row], q[reference]), keys, np.concatenate([v[row], v[reference]]), 2)
        np.testing.assert_allclose(found[row], wanted, **CLOSE)
    np.testing.assert_allclose(found[::2], attention(*map(jt.array, (q, k, v)), 2).numpy()[::2], **CLOSE)


def test_the_shared_norm_looks_at_both_pictures():
    norm, x = GroupNorm(2, 4, 1e-5, silu=True), draw(1, 4, 4, 3, 5) * 2 + 1
    norm.weight, norm.bias = jt.array(draw(2, 4)), jt.array(draw(3, 4))
    found = shared_norm(norm, jt.array(x)).numpy()
    for row, reference in ((0, 0), (1, 0), (2, 2), (3, 2)):
        both = np.concatenate([x[row], x[reference]], 1).reshape(2, -1)
        y = (x[row].reshape(2, -1) - both.mean(1, keepdims=True)) / np.sqrt(both.var(1, keepdims=True) + 1e-5)
        y = y.reshape(4, 3, 5) * draw(2, 4)[:, None, None] + draw(3, 4)[:, None, None]
        np.testing.assert_allclose(found[row], y / (1 + np.exp(-y)), **CLOSE)


def test_adain_takes_mean_and_deviation():
    x, like = draw(1, 1, 4, 8, 8) * 3 + 1, draw(2, 1, 4, 8, 8) * 0.5 - 2
    found = adain(x, like)
    np.testing.assert_allclose(found.mean((2, 3)), like.mean((2, 3)), atol=1e-4)
    np.testing.assert_allclose(found.std((2, 3)), like.std((2, 3)), rtol=1e-3)
    np.testing.assert_allclose(adain(x, x), x, **CLOSE)


def test_the_hook_goes_away_even_after_an_error():
    modules = self_attentions(load_tiny().unet)
    assert len(modules) == 4 and [id(module) for module in modules[-2:]] == list(map(id, self_attentions(
        load_tiny().unet, last=5)))
    with pytest.raises(ZeroDivisionError), attending(modules, aligned_attention):
        assert modules[0].attend is aligned_attention
        raise ZeroDivisionError
    assert not any("attend" in vars(module) for module in modules)
    with pytest.raises(AssertionError), aligned(load_tiny().unet), aligned(load_tiny().unet):
        pass
    assert not any("attend" in vars(module) for module in modules)


def rows(*latents: np.ndarray) -> tuple[np.ndarray, jt.Var]:
    states = text_states(load_tiny(), "a ring")
    return np.concatenate(latents), states.broadcast([len(latents), *states.shape[1:]])


def test_the_reference_is_as_without_the_others():
    """And an own row that equals the reference is as without it too."""
    model, (one, two) = load_tiny(), (draw(1, 1, 4, 8, 8), draw(2, 1, 4, 8, 8))
    plain = [predicted(model, rows(x, x)[1], np.concatenate([x, x]), 400.0)[0] for x in (one, two)]
    with aligned(model.unet):
        found = predicted(model, *rows(one, two)[::-1], 400.0)
        same = predicted(model, *rows(two, two)[::-1], 400.0)
    np.testing.assert_allclose(found[0], plain[0], **CLOSE)
    np.testing.assert_allclose(same, [plain[1]] * 2, **CLOSE)
    assert np.abs(found[1] - plain[1]).max() > 0.01


def test_rows_beside_a_picture_do_not_move_it():
    """Without a hook the U-Net's rows do not see each other."""
    model, schedule = load_tiny(), noise_schedule(load_tiny().scheduler)
    sigmas = sampling_sigmas(schedule, "ddim", 4)
    states = text_states(model, "a ring")
    path = inversion(text_denoiser(model, schedule, states), encoded(model, picture(1)), sigmas)
    assert len(path) == len(sigmas)
    x = first_noise(1, (1, 4, 8, 8)) * sigmas[0]
    alone = list(euler(text_denoiser(model, schedule, states), x, sigmas))
    joined = list(euler(beside(text_denoiser(model, schedule, states, states), [path], sigmas), x, sigmas))
    for one, two in zip(alone, joined):
        assert one.shape == two.shape == (1, 4, 8, 8)
        np.testing.assert_allclose(one, two, **CLOSE)


def there_and_back(content: np.ndarray, steps: int) -> np.ndarray:
    """Return the picture that DDIM's inversion and sampling leave of another."""
    model, schedule = load_tiny(), noise_schedule(load_tiny().scheduler)
    sigmas = sampling_sigmas(schedule, "ddim", steps)
    denoise = text_denoiser(model, schedule, text_states(model, ""))
    *_, x = euler(denoise, inversion(denoise, encoded(model, content), sigmas)[0], sigmas)
    return to_uint8(decoded(model, to_preserving(x, sigmas[-1]))[0])


def distance(one: np.ndarray, two: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - two.astype(int)).mean())


def test_a_picture_in_its_own_style_is_itself():
    content = picture(1)
    settings = StyleId(gamma=1.0, temperature=1.0, steps=20)
    own, = restyle(load_tiny(), content, content, settings)
    other, = restyle(load_tiny(), content, picture(2), settings)
    plain = there_and_back(content, 20)
    print(f"own style {distance(own, plain):.2f} levels, another's {distance(other, plain):.2f}")
    assert distance(own, plain) < 2 < distance(other, plain)


def test_restyling_does_not_depend_on_the_others():
    contents, settings = np.concatenate([picture(1), picture(2)]), StyleId(steps=3)
    together = list(restyle(load_tiny(), contents, picture(3), settings))
    assert (together[1] == next(restyle(load_tiny(), contents[1:], picture(3), settings))).all()


def test_pictures_that_share_a_reference():
    """Bits are each seed's own here too, and the reference is seen."""
    sampling = Sampling(sampler="dpm++2m", steps=4, guidance=3.0)
    make = partial(generate, load_tiny())
    first, second = (StyleReference(picture(seed), "a ring") for seed in (1, 2))
    together = list(make(["a", "ring"], [1, 2], sampling, reference=first))
    alone, = make(["ring"], [2], sampling, reference=first)
    assert (together[1] == alone).all()
    assert (alone != next(make(["ring"], [2], sampling, reference=second))).any()
    assert (alone != next(make(["ring"], [2], sampling))).any()
    assert next(make(["a"], [1], sampling.model_copy(update={"guidance": 1.0}), reference=first)).shape == (16, 16, 3)

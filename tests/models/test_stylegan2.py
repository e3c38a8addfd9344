"""What the generator promises beside parity: seeds, shapes, S codes, noise, sizes and clear errors."""
from __future__ import annotations

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.models.mappers import PromptMapper
from jittor_ipl.models.strict import named_tensors, numpy_tensors
from jittor_ipl.models.stylegan2 import layers as stylegan2_layers
from jittor_ipl.models.stylegan2.config import GeneratorConfig, default_channels
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.ops import modconv
from jittor_ipl.ops.bias_act import bias_act_reference
from jittor_ipl.ops.upfirdn2d import upfirdn2d_reference
from jittor_ipl.runtime.backend import jt, nn
from jittor_ipl.weights.generator import load_generator, save_generator

CHANNELS = {4: 12, 8: 10, 16: 6}


@pytest.fixture(scope="module")
def generator():
    g = Generator(GeneratorConfig(16, style_dim=24, n_mlp=3, channels=CHANNELS), np.random.default_rng(1))
    for name, var in g.trainable().items():
        if name.endswith("noise.weight"):
            var.assign(var + 0.3)
    return g


def latents(batch: int, dim: int = 24) -> np.ndarray:
    return np.random.RandomState(5).randn(batch, dim).astype(np.float32)


def images(g: Generator, z: np.ndarray) -> np.ndarray:
    with jt.no_grad():
        return g.synthesis(g.mapping(jt.array(z))).numpy()


@pytest.mark.parametrize("batch", [1, 2, 3, 5, 16])
def test_a_seed_gives_the_same_image_in_every_batch(generator, batch):
    z = latents(17)
    whole = images(generator, z)
    parts = np.concatenate([images(generator, z[i:i + batch]) for i in range(0, 17, batch)])
    print(f"batches of {batch} against 17: largest difference {np.abs(whole - parts).max():.1e}")
    assert whole.tobytes() == parts.tobytes()
    assert images(generator, z[::-1]).tobytes() == whole[::-1].tobytes()


def test_s_codes_round_trip(generator):
    w = generator.mapping(jt.array(latents(2)))
    codes = generator.styles(w)
    assert len(codes) == 2 + 4 + 2 and [s.shape[1] for s in codes] == [12, 12, 12, 10, 10, 6, 10, 6]
    again = generator.synthesis_from_styles([jt.array(s.numpy()) for s in codes]).numpy()
    assert again.tobytes() == generator.synthesis(w).numpy().tobytes()
    assert generator.synthesis(generator.broadcast(w)).numpy().tobytes() == again.tobytes()


def test_noise(generator):
    w = generator.mapping(jt.array(latents(2)))
    const, none = generator.synthesis(w, "const").numpy(), generator.synthesis(w, "none").numpy()
    given = generator.synthesis(w, [jt.array(n.numpy()) for n in generator.noises.as_list()]).numpy()
    assert given.tobytes() == const.tobytes() and np.abs(const - none).max() > 1e-3
    drawn = [generator.draw_noise(np.random.default_rng(3), 2) for _ in range(2)]
    assert [list(n.shape) for n in drawn[0]] == [[2, 1, r, r] for r in (4, 8, 8, 16, 16)]
    assert all((a.numpy() == b.numpy()).all() for a, b in zip(*drawn))
    assert np.abs(generator.synthesis(w, drawn[0]).numpy() - const).max() > 1e-3


def test_truncation_mixing_and_mean(generator):
    mean = generator.mean_latent(1500, seed=0)
    assert list(mean.shape) == [1, 24] and (mean.numpy() == generator.mean_latent(1500, seed=0).numpy()).all()
    w1, w2 = (generator.mapping(jt.array(z)) for z in (latents(2), -latents(2)))
    ws = generator.mix(w1, w2, 2).numpy()
    assert (ws[:, :2] == w1.numpy()[:, None]).all() and (ws[:, 2:] == w2.numpy()[:, None]).all()
    cut = generator.truncate(w1, 0.5, mean, cutoff=3).numpy()
    half = (w1.numpy() + mean.numpy()) / 2
    assert cut.shape == (2, 6, 24)
    np.testing.assert_allclose(cut[:, :3], np.repeat(half[:, None], 3, 1), atol=1e-6)
    assert (cut[:, 3:] == w1.numpy()[:, None]).all()


def test_config_and_file_rebuild_the_generator(generator, tmp_path):
    tensors = numpy_tensors(generator)
    save_generator(generator, tmp_path / "g.safetensors")
    again = load_generator(tmp_path / "g.safetensors")
    assert again.config == generator.config == GeneratorConfig(**generator.config.to_json())
    assert all((value == tensors[name]).all() for name, value in numpy_tensors(again).items())
    assert set(named_tensors(Generator(GeneratorConfig(**generator.config.to_json())))) == set(tensors)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_official_channel_tables(multiplier):
    assert default_channels(1024, multiplier) == {4: 512, 8: 512, 16: 512, 32: 512, 64: 256 * multiplier,
                                                  128: 128 * multiplier, 256: 64 * multiplier, 512: 32 * multiplier,
                                                  1024: 16 * multiplier}
    assert GeneratorConfig(8).channels == default_channels(8, multiplier) == {4: 512, 8: 512}


@pytest.mark.parametrize("size", [8, 32, 256])
def test_sizes(size):
    g = Generator(GeneratorConfig(size, style_dim=8, n_mlp=1, channels={r: 4 for r in default_channels(size)}))
    image = images(g, latents(1, 8))
    assert image.shape == (1, 3, size, size) and np.isfinite(image).all()


def test_second_derivative(generator, monkeypatch):
    """Path-length regularisation differentiates a gradient; compared with Jittor's own operators all the way.

    (A difference quotient would not do: it crosses kinks of the leaky ReLU.)
    """
    w = jt.array(latents(1))

    def second() -> np.ndarray:
        first = jt.grad((generator.synthesis(w) ** 2).sum(), w)
        return jt.grad((first * jt.array(latents(2)[1:])).sum(), w).numpy()

    ours = second()
    monkeypatch.setattr(stylegan2_layers, "bias_act", bias_act_reference)
    monkeypatch.setattr(modconv.in_float32, "conv2d", nn.conv2d)
    monkeypatch.setattr(modconv.in_float32, "conv_transpose2d", nn.conv_transpose)
    for module in (stylegan2_layers, modconv):
        monkeypatch.setattr(module, "linear", jt.nn.matmul_transpose)
        monkeypatch.setattr(module, "upfirdn2d", upfirdn2d_reference)
    reference = second()
    error = np.abs(ours - reference).max() / np.abs(reference).max()
    print(f"second derivative: relative error {error:.1e}")
    assert error < 1e-5


@pytest.mark.parametrize("wrong, words", [
    (lambda g: g.mapping(jt.zeros((2, 23))), "z has shape [2, 23], this network needs [B, 24]"),
    (lambda g: g.synthesis(jt.zeros((2, 5, 24))), "needs [B, 6, 24]"),
    (lambda g: g.synthesis(jt.zeros((2, 24)), "gaussian"), "choose 'const', 'none'"),
    (lambda g: g.synthesis(jt.zeros((2, 24)), [jt.zeros((1, 1, 4, 4))]), "1 noise arrays given, a 16 px"),
    (lambda g: g.synthesis_from_styles([jt.zeros((2, 12))]), "1 S codes given"),
    (lambda g: g.mix(jt.zeros((1, 24)), jt.zeros((1, 24)), 6), "choose one in 1..5"),
    (lambda g: Generator(GeneratorConfig(48)), "for 48 px pictures; 8 to 1024 px"),
    (lambda g: Generator(GeneratorConfig(16, channels={4: 8, 8: 8})), "needs [4, 8, 16]"),
    (lambda g: PromptMapper(24, 4, 16)(jt.zeros((2, 25))), "needs [B, 24]"),
])
def test_errors_name_value_and_choice(generator, wrong, words):
    with pytest.raises(UserError) as caught:
        wrong(generator)
    assert words in str(caught.value) and "\n" not in str(caught.value)

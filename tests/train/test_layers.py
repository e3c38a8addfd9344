"""Which tensors train: groups, phases, and the mapping from W+ indices to layers checked against what latents drive."""
import numpy as np
import pytest

from jittor_ipl.adaptation import layers
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt

ALL = ("mapping", "convs", "rgb", "const", "noise", "maps")


@pytest.fixture(scope="module")
def generator():
    return Generator(GeneratorConfig(32, style_dim=8, n_mlp=1, channels={4: 6, 8: 6, 16: 4, 32: 4}),
                     np.random.default_rng(0))


def test_groups_cover_every_parameter_once(generator):
    names = [layers.candidates(generator, [group], "all") for group in ALL]
    assert sorted(sum(names, [])) == sorted(generator.trainable())
    assert layers.group_of("convs.3.noise.weight") == "noise" and layers.group_of("to_rgbs.0.bias") == "rgb"


def test_modulation_is_one_vector_a_layer_of_the_convolutions_and_rgbs(generator):
    names = layers.candidates(generator, ["modulation"], "all")
    assert len(names) == sum(name.endswith("conv.weight") for name in generator.trainable())
    assert all(generator.trainable()[name].ndim == 1 for name in names)
    assert set(names) < set(layers.candidates(generator, ["convs", "rgb"], "all"))
    assert layers.candidates(generator, ["convs", "modulation", "rgb"],
                             "all") == layers.candidates(generator, ["convs", "rgb"], "all")


def test_phases(generator):
    def prefixes(phase):
        return {".".join(name.split(".")[:2]) if name.startswith("convs") else name.split(".")[0]
                for name in layers.candidates(generator, ALL, phase)}
    assert prefixes("shape") == {"input", "conv1", "convs.0", "convs.1"}
    assert prefixes("texture") == {"input", "conv1", "convs.2", "convs.3", "convs.4", "convs.5"}
    assert prefixes("no_mapping") == {"input", "conv1", *(f"convs.{i}" for i in range(6))}
    assert len(layers.candidates(generator, ALL, "all")) == len(generator.trainable())


def test_corrected_layers_are_those_that_the_latent_drives(generator):
    """Move one latent at a time: exactly the S codes of the named layers change."""
    order = ["conv1.", "to_rgb1.", *(f"convs.{i}." for i in range(6)), *(f"to_rgbs.{i}." for i in range(3))]
    ws = np.zeros((1, generator.n_latent, 8), np.float32)
    base = [s.numpy() for s in generator.styles(jt.array(ws))]
    for index in range(generator.n_latent):
        moved = ws.copy()
        moved[:, index] = 1.0
        changed = {name for name, before, after in zip(order, base, generator.styles(jt.array(moved)))
                   if not np.array_equal(before, after.numpy())}
        assert set(layers.layers_of(generator, index)) == changed, index


def test_official_layers_are_looked_up_in_the_list_of_the_original(generator):
    got = [layers.layers_of(generator, index, official=True) for index in range(generator.n_latent)]
    assert got == [("conv1.",), ("to_rgb1.",), *((f"convs.{i}.",) for i in range(6))]
    names = list(generator.trainable())
    for index, (prefix,) in enumerate(got):
        assert layers.selected(generator, names, [index], True) == [name for name in names if name.startswith(prefix)]


def test_choose_ranks_by_the_change_of_each_latent(generator):
    ws, pull = jt.zeros([2, generator.n_latent, 8]), np.zeros((1, generator.n_latent, 1), np.float32)
    pull[0, [5, 2, 7], 0] = 3, 2, 1
    chosen = layers.choose(generator, ws, lambda x, rows: (x * jt.array(pull)).sum(), 3, 1)
    assert chosen.tolist() == [5, 2, 7]


@pytest.mark.parametrize("phase,first,affine", [("coarse", 0, True), ("medium", 1, False), ("fine", 2, True)])
def test_phases_by_resolution(phase, first, affine):
    """From 8, 16 and 32 px on, with every stored noise map; medium without the matrices that make styles of w."""
    from jittor_ipl.models.stylegan2.config import GeneratorConfig
    from jittor_ipl.models.stylegan2.generator import Generator
    generator = Generator(GeneratorConfig(64, 8, n_mlp=1, channels={4: 4, 8: 4, 16: 4, 32: 4, 64: 4}))
    names = layers.candidates(generator, ("convs", "rgb", "const", "noise", "maps"), phase)
    assert {name.split(".conv.")[0] for name in names if ".conv." in name} == {
        *(f"convs.{i}" for i in range(2 * first, 8)), *(f"to_rgbs.{i}" for i in range(first, 4))}
    assert any(name.endswith(".modulation.weight") for name in names) == affine
    assert {"noises.noise_0", "noises.noise_8"} <= set(names)
    assert not any(name.startswith(("input.", "style.", "conv1.", "to_rgb1.")) for name in names)

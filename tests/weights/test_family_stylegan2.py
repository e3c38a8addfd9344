"""StyleGAN2 generators of every dialect: what real libraries wrote draws the same pictures here."""
from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from network_names import adopt

from jittor_ipl.errors import UserError
from jittor_ipl.models.strict import named_tensors, numpy_tensors
from jittor_ipl.models.stylegan2.config import GeneratorConfig, blur_kernel, default_channels
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.containers.read import read_tensors
from jittor_ipl.weights.containers.safetensors import read_safetensors
from jittor_ipl.weights.containers.torch_writer import write_torch
from jittor_ipl.weights.families.family import Hints
from jittor_ipl.weights.families.registry import identify
from jittor_ipl.weights.families.schema import fill, solve
from jittor_ipl.weights.families.stylegan2.rosinality import schema
from jittor_ipl.weights.generator import load_generator, save_generator, save_generator_delta
from jittor_ipl.weights.network import read_network

FIXTURES = Path(__file__).parents[1] / "fixtures" / "stylegan2"
TOLERANCE = 1e-5        # of the largest value
FILES = {"rosinality": ("rosinality.pt", "rosinality_images"), "nvidia-ada": ("nvidia_ada.pkl", "nvidia_images"),
         "nvidia-tf": ("nvidia_tf.pkl", "nvidia_images"), "paddlegan": ("paddlegan.pdparams", "paddlegan_images")}
# SHA-256 of the lines "name shape" of rosinality's state_dict() at full width, sorted; see the maker's --names.
NAMES = {8: "2fa404a50da7d8f8", 16: "a28fdb6c8d5654ed", 32: "dd31a82d3c6c5a22", 64: "6f2a334b428192c5",
         128: "f67e9afb87186598", 256: "4190591f59fca3f3", 512: "fd886b464229711a", 1024: "0dc4cf43053a39c8"}


def golden(dialect: str) -> dict[str, np.ndarray]:
    with np.load(FIXTURES / f"{FILES[dialect][1]}.npz") as data:
        return {name: data[name] for name in data.files}


def drawn(g: Generator, z: np.ndarray) -> dict[str, np.ndarray]:
    """Everything that a record may hold of these latents."""
    w = g.mapping(jt.array(z))
    made = {"w": w, "const": g.synthesis(w), "none": g.synthesis(w, "none"),
            "truncated": g.synthesis(g.truncate(w, 0.5, g.center(64, 0)))}
    if len(z) == 2:
        made["mixed"] = g.synthesis(g.mix(w[:1], w[1:], 3))
    return {name: value.numpy() for name, value in made.items()}


# ---- files of the real libraries -------------------------------------------------------------------------------------

@pytest.mark.parametrize("dialect", FILES)
def test_pictures(dialect: str) -> None:
    record = golden(dialect)
    generator = load_generator(FIXTURES / FILES[dialect][0])
    made = drawn(generator, record.pop("z"))
    for name, theirs in record.items():
        error = float(np.abs(made[name] - theirs).max() / np.abs(theirs).max())
        print(f"{dialect} {name}: relative error {error:.1e}")
        assert error <= TOLERANCE, (dialect, name, error)


@pytest.mark.parametrize("dialect", FILES)
def test_layout(dialect: str) -> None:
    network = read_network(FIXTURES / FILES[dialect][0], kind="stylegan2")
    clamp = {"conv_clamp": 1.5} if dialect.startswith("nvidia") else {}
    assert network.layout.dialect == dialect
    assert network.layout.config == {"size": 16, "style_dim": 16, "n_mlp": 3, "lr_mlp": 0.01,
                                     "channels": {4: 12, 8: 12, 16: 8}, **clamp}
    own = Generator(GeneratorConfig(**network.layout.config))
    expected = {name: tuple(var.shape) for name, var in named_tensors(own).items()}
    if dialect != "paddlegan":      # the others carry the mean w
        expected["latent_avg"] = (16,)
    assert {name: array.shape for name, array in network.tensors.items()} == expected
    assert all(array.dtype == np.float32 for array in network.tensors.values())


def test_both_nvidia_roads_meet() -> None:
    ada, tf = (read_network(FIXTURES / FILES[dialect][0]).tensors for dialect in ("nvidia-ada", "nvidia-tf"))
    assert list(ada) == list(tf)
    assert all(np.array_equal(ada[name], tf[name]) for name in ada)


def test_what_else_a_training_checkpoint_holds() -> None:
    path = FIXTURES / "rosinality.pt"
    info = read_tensors(path)[1]
    assert info.container == "g_ema" and info.extras["latent_avg"].shape == (16,)
    assert {"g", "d", "g_optim"} <= set(info.skipped)
    with pytest.raises(UserError):
        read_network(path, kind="stylegan2", container="d")


# ---- names, shapes, damage -------------------------------------------------------------------------------------------

def shapes_at(size: int, **changes: tuple[int, ...] | None) -> dict[str, tuple[int, ...]]:
    numbers = {"w": 16, "c4": 12, "c8": 10, **{f"c{r}": 6 for r in (16, 32, 64, 128, 256, 512, 1024)}}
    shapes = {**fill(schema(size, 4), numbers), **changes}
    return {name: shape for name, shape in shapes.items() if shape is not None}


@pytest.mark.parametrize("size", NAMES)
def test_names_are_rosinality_s(size: int) -> None:
    channels = {f"c{r}": c for r, c in default_channels(size).items()}
    table = fill(schema(size, 8), {"w": 512, **channels})
    lines = "\n".join(f"{name} {list(shape)}" for name, shape in sorted(table.items()))
    assert hashlib.sha256(lines.encode()).hexdigest()[:16] == NAMES[size]


@pytest.mark.parametrize("size", [8, 64, 1024])
def test_numbers_from_shapes(size: int) -> None:
    layout = identify(shapes_at(size)).layout
    assert (layout.config["size"], layout.config["style_dim"], layout.config["n_mlp"]) == (size, 16, 4)
    assert layout.config["channels"][8] == 10 and layout.expected == shapes_at(size)


@pytest.mark.parametrize("damage, message", [
    ({"input.input": None}, "tensor 'input.input' is missing"),
    ({"convs.0.conv.weight": None, "convs.0.conv.wieght": (1, 10, 12, 3, 3)}, "did you mean 'convs.0.conv.wieght'"),
    ({"convs.1.conv.weight": (1, 10, 11, 3, 3)}, r"has shape \[1, 10, 11, 3, 3\], expected is \[1, 10, 10, 3, 3\]"),
    ({"noises.noise_2": None}, "tensor 'noises.noise_2' is missing"),
    ({"to_rgbs.1.upsample.kernel": (3, 3)}, r"'to_rgbs.1.upsample.kernel' has shape \[3, 3\]"),
    ({"conv1.conv.weight": (1, 12, 12, 5, 5)}, "expected is"), ({"latent_avg": (3, 16)}, r"expected is \[16\]"),
    ({"convs.4.extra": (1,)}, "unexpected tensor 'convs.4.extra'")])
def test_damage_is_named(damage: dict, message: str) -> None:
    tensors = {name: np.zeros(shape, "f4") for name, shape in shapes_at(16, **damage).items()}
    with pytest.raises(UserError, match=message):
        adopt(tensors, source="x.pt")


def test_one_odd_tensor_does_not_outvote_the_others() -> None:
    assert solve({"a": ("n", 3), "b": ("n",), "c": ("m",)}, {"a": (4, 3), "b": (5,)}, default=7) == {"n": 4, "m": 7}
    assert solve({"a": ("n",), "b": ("n",), "c": ("n",)}, {"a": (9,), "b": (5,), "c": (5,)}) == {"n": 5}


def test_noise_maps_that_a_file_lacks_are_always_the_same() -> None:
    tensors = {name: np.zeros(shape, "f4") for name, shape in shapes_at(16).items() if not name.startswith("noises.")}
    first, second = (adopt(tensors, source="x")[0] for _ in range(2))
    assert list(first) == list(shapes_at(16))
    assert np.array_equal(first["noises.noise_4"], second["noises.noise_4"]) and first["noises.noise_4"].std() > 0.5


def test_sizes_out_of_reach() -> None:
    shapes = {**shapes_at(1024), "convs.17.conv.weight": (1, 6, 6, 3, 3)}
    with pytest.raises(UserError, match="2048 px pictures; 8 to 1024 px"):
        identify(shapes)


def test_stored_numbers() -> None:
    stored = {"lr_mlp": 1.0, "conv_clamp": 256}
    assert identify(shapes_at(8), Hints(config=stored)).layout.config | stored == identify(shapes_at(8),
                                                                                           Hints(config=stored)).layout.config
    for bad, message in (({"size": 64}, "config says size 64, its tensors say 8"), ({"lr_mlp": -1}, "lr_mlp is not"),
                         ({"conv_clamp": "wide"}, "conv_clamp is not")):
        with pytest.raises(UserError, match=message):
            identify(shapes_at(8), Hints(config=bad))


def test_a_mapping_network_alone_is_no_generator() -> None:
    with pytest.raises(UserError, match="no stylegan2"):
        identify({"style.1.weight": (4, 4)}, kind="stylegan2")


@pytest.mark.parametrize("square", [False, True])
def test_what_is_constant_is_never_missing(square: bool) -> None:
    shapes = shapes_at(16)
    if square:      # no matrix tells which way it lies
        shapes = fill(schema(16, 4), {"w": 12, "c4": 12, "c8": 12, "c16": 12})
    draw = np.random.default_rng(0)
    whole = {name: blur_kernel() if name.endswith(".kernel") else draw.standard_normal(shape, np.float32)
             for name, shape in shapes.items()}
    for ends in ((".kernel",), ("blur.kernel",), ("to_rgbs.0.upsample.kernel", "convs.2.conv.blur.kernel")):
        part = {name: value for name, value in whole.items() if not name.endswith(ends)}
        if square and ends == ("blur.kernel",):     # PaddleGAN's files lack exactly these
            continue
        made, layout = adopt(part, source="x")
        assert layout.dialect == "rosinality" and list(made) == list(whole)
        assert all(np.array_equal(made[name], value) for name, value in whole.items())


def test_nvidia_s_constants_may_be_missing_too() -> None:
    tensors = dict(read_tensors(FIXTURES / "nvidia_ada.pkl")[0])
    whole = adopt(tensors, source="x")[0]
    for part in ("resample_filter", "noise_const"):
        made = adopt({name: value for name, value in tensors.items() if not name.endswith(part)}, source="x")[0]
        assert list(made) == list(whole)
        assert all(np.array_equal(made[name], value) for name, value in whole.items() if not name.startswith("noises."))


_CLASSES = "class-conditional"
OTHERS = {
    "z beside a class": ({"style.1.weight": (16, 32)}, _CLASSES),
    "embedding": ({"style.embed.weight": (16, 10)}, _CLASSES),
    "z": ({"style.1.weight": (16, 8)}, "z, hidden layers and w have the widths 8, 16 and 16"),
    "grey": ({"to_rgb1.bias": (1, 1, 1, 1), "to_rgbs.0.bias": (1, 1, 1, 1), "to_rgbs.1.bias": (1, 1, 1, 1)},
             "1 channels"),
    "wavelets": ({"to_rgbs.0.iwt.ll": (2, 2)}, "a SWAGAN generator"),
    "tall": ({"input.input": (1, 12, 8, 4), "noises.noise_0": (1, 1, 8, 4)}, "no squares")}
STRANGERS = {
    "convs.1.conv1.0.weight": "discriminator", "final_linear.1.bias": "discriminator",
    "b16.fromrgb.weight": "discriminator",
    "16x16/FromRGB/weight": "discriminator", "synthesis.input.freqs": "StyleGAN3",
    "synthesis.L0_36_512.weight": "StyleGAN3",
    "generator.progression.0.conv1.0.weight": "first StyleGAN", "synthesis/4x4/Const/StyleMod/weight": "first StyleGAN",
    "synthesis.layer3.weight": "GenForce", "backbone.synthesis.b4.const": "EG3D", "GAN.G.initial_block": "lucidrains"}


@pytest.mark.parametrize("case", OTHERS)
def test_a_converted_network_that_is_not_ours_is_named(case: str) -> None:
    changes, message = OTHERS[case]
    with pytest.raises(UserError, match=f"this is .*{message}.*use a StyleGAN2 network"):
        identify(shapes_at(16, **changes))


@pytest.mark.parametrize("name", STRANGERS)
def test_another_network_is_named_by_what_only_it_has(name: str) -> None:
    for kind in ((), "stylegan2"):
        with pytest.raises(UserError, match=f"this is .*{STRANGERS[name]}.*use a StyleGAN2 network"):
            identify({name: (4, 4)}, kind=kind)


def test_other_networks_under_nvidia_s_names() -> None:
    tensors = dict(read_tensors(FIXTURES / "nvidia_ada.pkl")[0])
    shapes = {name: value.shape for name, value in tensors.items()}
    width, hidden = shapes["mapping.fc0.weight"]
    for changes, message in (({"mapping.embed.weight": (width, 10), "mapping.fc0.weight": (width, 2 * hidden)},
                              _CLASSES),
                             ({"mapping.fc0.weight": (width, 2 * hidden)}, _CLASSES),
                             ({"synthesis.b8.skip.weight": (12, 12, 1, 1)}, "residual")):
        with pytest.raises(UserError, match=message):
            identify({**shapes, **changes})


# ---- the centre of truncation ----------------------------------------------------------------------------------------

def test_center() -> None:
    with_mean, without = (load_generator(FIXTURES / FILES[d][0]) for d in ("nvidia-ada", "paddlegan"))
    assert np.array_equal(with_mean.center(8, 0).numpy()[0],
                          read_network(FIXTURES / "nvidia_ada.pkl").tensors["latent_avg"])
    assert np.array_equal(without.center(8, 0).numpy(), without.mean_latent(8, 0).numpy())


def test_the_center_stays_with_the_weights(tmp_path: Path) -> None:
    source = load_generator(FIXTURES / "nvidia_ada.pkl")
    save_generator(source, tmp_path / "g.safetensors")
    again = load_generator(tmp_path / "g.safetensors")
    assert np.array_equal(again.latent_avg, source.latent_avg) and again.config == source.config
    assert again.config.conv_clamp == 1.5

    def adapted(part: str) -> Generator:
        twin, tensors = source.copy(), numpy_tensors(source)
        twin.put({name: value + np.float32(0.1) for name, value in tensors.items() if name.startswith(part)})
        return twin

    for part, kept in (("convs.0.conv.weight", True), ("style.1.weight", False)):
        save_generator_delta(adapted(part), source, tmp_path / "d.safetensors")
        loaded = load_generator(tmp_path / "d.safetensors", source=source)
        assert (loaded.latent_avg is not None) == kept and loaded.config.conv_clamp == 1.5


def test_a_center_in_every_layer_is_one_w() -> None:
    tensors = {name: np.zeros(shape, "f4") for name, shape in shapes_at(16).items()}
    row = np.arange(16, dtype="f4")
    for centre in (row, row[None], np.repeat(row[None], 6, 0)):
        assert np.array_equal(adopt({**tensors, "latent_avg": centre}, source="x")[0]["latent_avg"], row)
    with pytest.raises(UserError, match="differs between layers"):
        adopt({**tensors, "latent_avg": np.arange(96, dtype="f4").reshape(6, 16)}, source="x")


# ---- out again -------------------------------------------------------------------------------------------------------

def test_an_adapted_generator_file(tmp_path: Path) -> None:
    tensors = read_network(FIXTURES / "rosinality.pt").tensors
    names = {name: value for name, value in tensors.items() if name != "latent_avg"}
    write_torch(tmp_path / "000300.pt", {"g_ema": names, "g_optim": {"state": {}, "param_groups": [{"lr": 0.0016}]}})
    generator = load_generator(tmp_path / "000300.pt")
    assert generator.latent_avg is None
    assert all(np.array_equal(value, names[name]) for name, value in numpy_tensors(generator).items())


def test_safetensors_of_a_generator_carry_the_mean_w_once(tmp_path: Path) -> None:
    save_generator(load_generator(FIXTURES / "rosinality.pt"), tmp_path / "g.safetensors")
    tensors, metadata = read_safetensors(tmp_path / "g.safetensors")
    assert tensors["latent_avg"].shape == (16,) and metadata["kind"] == "stylegan2"

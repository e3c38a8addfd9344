"""Latents, styles, directions and statistics: files whose tensors have no names, told apart by their shapes."""
from __future__ import annotations

import numpy as np
import pytest
from network_names import FIXTURES, adopt, recognise

from jittor_ipl.errors import UserError
from jittor_ipl.models.stylegan2.style_space import SUBSETS, fits, rows, style_space, subset
from jittor_ipl.weights.convert import convert
from jittor_ipl.weights.families.family import Hints
from jittor_ipl.weights.network import read_network

LATENTS = FIXTURES / "latents"
FULL = [layer.channels for layer in style_space(1024)]


def codes(*shape: int) -> np.ndarray:
    """Return what tests/parity/make_latents_fixtures.py put into the files."""
    return (np.arange(np.prod(shape), dtype=np.float32).reshape(shape) % 251) / 64 - 1


def styles(*shape: int) -> list[np.ndarray]:
    return [codes(*shape, 512) + index for index in range(5)]


W_PLUS = codes(1, 18, 16)
FILES = {
    "w_plus.pt": ("latents", "W+", {"latents": W_PLUS}), "w_plus.npy": ("latents", "W+", {"latents": codes(2, 18, 16)}),
    "w_plus_list.pt": ("latents", "W+", {"latents": np.concatenate([W_PLUS, W_PLUS + 1])}),
    "dst.npy": ("latents", "W+", {"latents": codes(18, 16)[None]}),
    "W.npy": ("latents", "W", {"latents": codes(7, 16)}),
    **{name: ("latents", "S", {f"S.{i}": array for i, array in enumerate(styles(1))})
       for name in ("S", "s.pt", "S-ffhq.pdparams")},
    **{name: ("style-directions", None, {"direction": codes(1536, 2)})
       for name in ("fs3.npy", "global-directions.pdparams")},
    "S_mean_std": ("style-statistics", None, {**{f"mean.{i}": array for i, array in enumerate(styles())},
                                              **{f"std.{i}": array / 8 for i, array in enumerate(styles())}}),
    "stats.pdparams": ("style-statistics", None,
                       {f"{part}.{i}": array for part in ("mean", "std") for i, array in enumerate(styles())}),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_the_libraries(name: str, tmp_path) -> None:
    kind, space, expected = FILES[name]
    (written,) = convert(LATENTS / name, tmp_path)
    again = read_network(written.path)
    for network in (read_network(LATENTS / name), again):
        assert network.layout.kind == kind and network.layout.config.get("space") == space
        assert list(network.tensors) == list(expected) or network is again
        for key, array in expected.items():
            np.testing.assert_array_equal(network.tensors[key], array)


def test_style_space_counts() -> None:
    layers = style_space(1024)
    assert [rows(layers, name) for name in SUBSETS] == [6048, 5376, 9088] and len(layers) == 26
    assert FULL == [512] * 15 + [256] * 3 + [128] * 3 + [64] * 3 + [32] * 2
    assert subset(layers, "convolutions") == [0, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18, 20, 21, 23, 24]
    assert "256 px config-e" in fits(4928)["convolutions"]      # the number that PaddleGAN's source names for 256 px
    assert [layers[i].name for i in (0, 1, 2, 3, 4, 25)] == ["conv1", "to_rgb1", "convs.0", "convs.1", "to_rgbs.0",
                                                             "to_rgbs.7"]


def test_directions_must_fit_a_generator() -> None:
    for directions in (5376, 6048, 9088):
        assert recognise({"tensor": (directions, 512)}, Hints(name="fs3")).config["rows"] == directions
    with pytest.raises(UserError, match=r"shape \[6047, 512\], expected is \[6048, 512\]"):
        adopt({"tensor": np.zeros((6047, 512), np.float32)}, Hints(name="fs3"), source="fs3.npy")


@pytest.mark.parametrize("prefix, shape",
                         [("", lambda c: (2, c)), ("1.", lambda c: (2, c)), ("", lambda c: (2, 1, c, 1, 1))])
def test_styles_of_the_published_generator(prefix: str, shape) -> None:
    arrays = {f"{prefix}{i}": np.zeros(shape(c), np.float32) for i, c in enumerate(FULL)}
    tensors, layout = adopt(arrays, source="S")
    assert layout.config["size"] == 1024 and [array.shape for array in tensors.values()] == [(2, c) for c in FULL]
    with pytest.raises(UserError, match=f"tensor '{prefix}7'"):
        adopt({**arrays, f"{prefix}7": np.zeros(shape(8), np.float32)}, source="S")
    with pytest.raises(UserError, match=f"'{prefix}3' is missing"):
        adopt({name: array for name, array in arrays.items() if name != f"{prefix}3"}, source="S")


def test_statistics_of_the_published_generator() -> None:
    arrays = {f"{half}.{i}": np.zeros(c, np.float32) for half in (0, 1) for i, c in enumerate(FULL)}
    tensors, layout = adopt(arrays, source="S_mean_std")
    assert layout.config["size"] == 1024 and list(tensors)[:2] == ["mean.0", "mean.1"] and list(tensors)[26] == "std.0"
    with pytest.raises(UserError, match="'1.25' is missing"):
        adopt({name: array for name, array in arrays.items() if name != "1.25"}, source="S_mean_std")


def test_a_single_named_array_is_a_code_too() -> None:
    tensors, layout = adopt({"w": W_PLUS}, source="projected_w.npz")        # NVIDIA's projector
    assert layout.config["space"] == "W+" and tensors["latents"].shape == (1, 18, 16)


def test_what_is_neither() -> None:
    for shapes in ({"tensor": (4, 3, 64, 64)}, {"tensor": ()}, {"0": (3,), "1": (5,)},
                   {"0": (2, 7, 512), "1": (2, 18, 512)}):
        with pytest.raises(UserError, match="no known network"):
            recognise(shapes)

"""Codes of faces: from seeds and from files, in the order that files have, and what is refused."""
from __future__ import annotations

import numpy as np
import pytest

from jittor_ipl.commands.edit.faces import count_of
from jittor_ipl.editing.codes import (
    faces_of_file,
    faces_of_seeds,
    file_positions,
    in_our_order,
    layers_of,
    stored_styles,
    styles_of,
)
from jittor_ipl.editing.drawing import draw
from jittor_ipl.errors import UserError
from jittor_ipl.images.pixels import to_uint8
from jittor_ipl.models.stylegan2.pictures import picture
from jittor_ipl.runtime.backend import jt
from jittor_ipl.runtime.streams import z_from_seeds
from jittor_ipl.weights.containers.safetensors import write_safetensors
from jittor_ipl.weights.tuned import Tuned, save_tuned


def test_codes_of_seeds_draw_the_pictures_of_generate(large):
    faces = faces_of_seeds(large, [3, 5], psi=.7, center=large.center(64, 2))
    with jt.no_grad():
        wanted = [to_uint8(picture(large, z_from_seeds([seed], 32), psi=.7, center=large.center(64, 2))
                           .numpy()[0]) for seed in (3, 5)]
    assert faces.names == ("seed0003", "seed0005")
    for drawn, picture_of_z in zip(draw(large, faces.styles), wanted):
        np.testing.assert_array_equal(drawn, picture_of_z)


def test_a_picture_does_not_depend_on_its_company(large):
    faces = faces_of_seeds(large, range(5))
    alone = list(draw(large, faces.take([3]).styles))
    np.testing.assert_array_equal(list(draw(large, faces.styles, at_once=2))[3], alone[0])


def test_the_order_of_files_is_from_coarse_to_fine(large):
    layers, positions = layers_of(large), file_positions(large)
    modules = [large.conv1, large.to_rgb1, *large.convs, *large.to_rgbs]
    assert [layer.name for layer in layers][:5] == ["conv1", "to_rgb1", "convs.0", "convs.1", "to_rgbs.0"]
    assert [layer.channels for layer in layers] == [modules[p].conv.weight.shape[2] for p in positions]
    faces = faces_of_seeds(large, [0])
    there = list(stored_styles(large, faces.styles).values())
    for code, again in zip(faces.styles, in_our_order(large, there, "a file")):
        np.testing.assert_array_equal(code, again)


@pytest.mark.parametrize("space", ["W", "W+", "S", "one W+"])
def test_files_of_every_space_draw_the_same_face(large, tmp_path, space):
    faces = faces_of_seeds(large, [7, 8])
    if space == "S":
        path = tmp_path / "s.safetensors"
        write_safetensors(path, stored_styles(large, faces.styles), {"kind": "latents"})
    else:
        path = tmp_path / "dst.npy"
        np.save(path, {"W": faces.ws[:, 0], "W+": faces.ws, "one W+": faces.ws[:1]}[space])
    read = faces_of_file(large, path)
    assert read.names == (("dst",) if space == "one W+" else (f"{path.stem}-000", f"{path.stem}-001"))
    assert (read.ws is None) == (space == "S")
    for code, again in zip(faces.styles, read.styles):
        np.testing.assert_array_equal(code[:len(read.names)], again)


@pytest.mark.parametrize("shape", [(2, 16), (2, 18, 32), (2, 8, 64)])
def test_latents_of_another_generator_are_refused(large, tmp_path, shape):
    np.save(tmp_path / "other.npy", np.zeros(shape, np.float32))
    with pytest.raises(UserError, match=r"other.npy holds W.* takes W \[N, 32\] or W\+ \[N, 8, 32\]"):
        faces_of_file(large, tmp_path / "other.npy")


def test_other_style_layers_and_values_are_refused(large, tmp_path):
    faces = faces_of_seeds(large, [1])
    codes = list(stored_styles(large, faces.styles).values())
    with pytest.raises(UserError, match="give the generator that they belong to"):
        in_our_order(large, codes[:-1], "s.pt")
    np.save(tmp_path / "broken.npy", np.full((1, 8, 32), np.nan, np.float32))
    with pytest.raises(UserError, match="not finite"):
        faces_of_file(large, tmp_path / "broken.npy")


def test_faces_in_an_adapted_generator_keep_their_w(large):
    faces = faces_of_seeds(large, [2])
    twin = large.copy()
    twin.put({"convs.1.conv.modulation.bias": twin.trainable()["convs.1.conv.modulation.bias"].numpy() + 1})
    there = faces.in_generator(twin)
    for code, wanted in zip(there, styles_of(twin, faces.ws)):
        np.testing.assert_array_equal(code, wanted)
    assert not np.array_equal(there[3], faces.styles[3])


def test_a_tuned_generators_file_brings_its_own_generator(large, tmp_path):
    faces, tuned = faces_of_seeds(large, [4]), large.copy()
    tuned.put({"to_rgbs.0.bias": np.full((1, 3, 1, 1), .4, np.float32)})
    save_tuned(Tuned(tuned, faces.ws, ("me",)), large, tmp_path / "me.safetensors", half=False)
    found = faces_of_file(large, tmp_path / "me.safetensors")
    assert found.names == ("me",) and found.generator is not large
    drawn, plain = (next(draw(one, found.styles)) for one in (found.generator, large))
    np.testing.assert_array_equal(drawn, next(draw(tuned, faces.styles)))
    assert not np.array_equal(drawn, plain)


def test_faces_are_counted_in_words():
    assert [count_of([None] * count) for count in (0, 1, 2)] == ["0 faces", "1 face", "2 faces"]

"""StyleCLIP's and PaddleGAN's own files: latents, statistics and dictionaries that their programs' writers made."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.editing.codes import faces_of_file
from jittor_ipl.editing.dictionary import load_dictionary
from jittor_ipl.editing.direction import moved, relevances, step_of
from jittor_ipl.editing.preparing import write_statistics
from jittor_ipl.editing.statistics import StyleStatistics, load_statistics
from jittor_ipl.errors import UserError
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator, Undrawn
from jittor_ipl.weights.network import read_network

FILES = Path(__file__).parents[1] / "fixtures" / "latents"


@pytest.fixture(scope="module")
def generator8() -> Generator:
    return Generator(GeneratorConfig(8, style_dim=16, n_mlp=1), Undrawn())


@pytest.mark.parametrize("name", ["S", "S-ffhq.pdparams", "s.pt"])
def test_styles(generator8, name):
    faces = faces_of_file(generator8, FILES / name)
    assert [code.shape[1] for code in faces.styles] == [512] * 5 and faces.ws is None


@pytest.mark.parametrize("name", ["dst.npy", "w_plus.npy", "w_plus.pt"])
def test_codes_of_a_larger_generator_are_refused(generator8, name):
    with pytest.raises(UserError, match=r"W\+ codes of shape \[\d, 18, 16\]; a 8 px generator .* takes W"):
        faces_of_file(generator8, FILES / name)


@pytest.mark.parametrize("name", ["S_mean_std", "stats.pdparams"])
def test_statistics(generator8, name, tmp_path):
    with pytest.raises(UserError, match="deviation in it is no number or negative"):    # the fixtures' are random
        load_statistics(FILES / name, generator8)
    tensors = {key: np.abs(value) for key, value in read_network(FILES / name, kind="style-statistics").tensors.items()}
    write_statistics(tmp_path / "s.safetensors", tensors, "0" * 64)
    found = load_statistics(tmp_path / "s.safetensors", generator8).tensors(generator8)
    assert {key: value.shape for key, value in found.items()} == {f"{part}.{i}": (512,) for part in ("mean", "std")
                                                                  for i in range(5)}
    assert all(np.array_equal(value, tensors[key].reshape(-1)) for key, value in found.items())


@pytest.mark.parametrize("directions", ["fs3.npy", "global-directions.pdparams"])
def test_dictionaries(generator8, directions):
    dictionary = load_dictionary(FILES / directions, [generator8])
    assert dictionary.layers == (0, 2, 3) and not dictionary.relative and dictionary.clips == ()
    found = StyleStatistics(*[tuple(np.ones(512, np.float32) for _ in range(5))] * 2)
    step = step_of(dictionary, found, relevances(dictionary, np.array([.6, .8])), .1)
    faces = faces_of_file(generator8, FILES / "S")
    there = moved(faces.styles, step, 3.0)
    assert np.array_equal(there[1], faces.styles[1]) and not np.array_equal(there[0], faces.styles[0])


def test_a_dictionary_with_other_rows_is_refused(large):
    with pytest.raises(UserError, match="has 1536 directions; this 32 px generator has"):
        load_dictionary(FILES / "fs3.npy", [large])

"""StyleCLIP's and PaddleGAN's own files: latents, statistics and dictionaries that their programs' writers made."""
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.editing.codes import faces_of_file
from jittor_ipl.editing.dictionary import load_dictionary
from jittor_ipl.editing.direction import moved, relevances, step_of
from jittor_ipl.editing.statistics import StyleStatistics, load_statistics
from jittor_ipl.errors import UserError
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator, Undrawn

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


@pytest.mark.parametrize("statistics", ["S_mean_std", "stats.pdparams"])
@pytest.mark.parametrize("directions", ["fs3.npy", "global-directions.pdparams"])
def test_dictionaries_and_statistics(generator8, statistics, directions):
    dictionary = load_dictionary(FILES / directions, [generator8])
    assert dictionary.layers == (0, 2, 3) and not dictionary.relative and dictionary.clips == ()
    try:
        found = load_statistics(FILES / statistics, generator8)
    except UserError as error:          # the fixtures' numbers are random: a deviation may be negative
        assert "deviation in it is no number or negative" in str(error)
        found = StyleStatistics(*[tuple(np.ones(512, np.float32) for _ in range(5))] * 2)
    step = step_of(dictionary, found, relevances(dictionary, np.array([.6, .8])), .1)
    faces = faces_of_file(generator8, FILES / "S")
    there = moved(faces.styles, step, 3.0)
    assert np.array_equal(there[1], faces.styles[1]) and not np.array_equal(there[0], faces.styles[0])


def test_a_dictionary_with_other_rows_is_refused(large):
    with pytest.raises(UserError, match="has 1536 directions; this 32 px generator has"):
        load_dictionary(FILES / "fs3.npy", [large])

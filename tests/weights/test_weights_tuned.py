"""A tuned generator's file gives generator and codes back together, and only over its own source."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.models.strict import numpy_tensors
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.weights.containers.safetensors import read_safetensors, write_safetensors
from jittor_ipl.weights.generator import load_generator
from jittor_ipl.weights.inspect import inspect
from jittor_ipl.weights.tuned import LATENTS, Tuned, carried_over, load_tuned, save_tuned

CHANNELS = {4: 6, 8: 6, 16: 4}


def generator(seed: int) -> Generator:
    made = Generator(GeneratorConfig(16, style_dim=16, n_mlp=1, channels=CHANNELS), np.random.default_rng(seed))
    made.latent_avg = np.full(16, .5, np.float32)
    return made


def tuned_from(source: Generator) -> Tuned:
    twin = source.copy()
    twin.put({"conv1.conv.weight": source.conv1.conv.weight.numpy() + np.float32(1 / 512),
              "noises.noise_2": source.noises.noise_2.numpy() * np.float32(.5)})
    latents = np.random.default_rng(7).standard_normal((2, source.n_latent, 16), np.float32)
    return Tuned(twin, latents, ("Ann 安", "bob"))


def test_generator_and_codes_come_back_together(tmp_path: Path) -> None:
    source = generator(1)
    tuned = tuned_from(source)
    save_tuned(tuned, source, tmp_path / "faces.safetensors", half=False)
    found = load_tuned(tmp_path / "faces.safetensors", source)
    assert found.names == tuned.names and np.array_equal(found.latents, tuned.latents)
    wanted = numpy_tensors(tuned.generator)
    assert all(np.array_equal(array, wanted[name]) for name, array in numpy_tensors(found.generator).items())
    assert np.array_equal(found.generator.latent_avg, source.latent_avg)
    stored, metadata = read_safetensors(tmp_path / "faces.safetensors")
    assert set(stored) == {LATENTS, "conv1.conv.weight", "noises.noise_2"} and metadata["kind"] == "tuned-generator"


def test_half_differences_are_small_and_close(tmp_path: Path) -> None:
    source = generator(1)
    tuned = tuned_from(source)
    for half in (True, False):
        save_tuned(tuned, source, tmp_path / f"{half}.safetensors", half=half)
    found = numpy_tensors(load_tuned(tmp_path / "True.safetensors", source).generator)
    wanted = numpy_tensors(tuned.generator)
    assert max(np.abs(found[name] - wanted[name]).max() for name in wanted) <= 2.0**-11     # of changes below 1
    assert (tmp_path / "True.safetensors").stat().st_size < (tmp_path / "False.safetensors").stat().st_size


def test_nothing_else_takes_it_for_a_generator_of_its_own(tmp_path: Path) -> None:
    source = generator(1)
    save_tuned(tuned_from(source), source, tmp_path / "t.safetensors")
    with pytest.raises(UserError, match="'tuned-generator' network"):
        load_generator(tmp_path / "t.safetensors", source=source)
    with pytest.raises(UserError, match="made from another source"):
        load_tuned(tmp_path / "t.safetensors", generator(2))
    report = inspect(tmp_path / "t.safetensors").networks[0]
    assert report.kind == "tuned-generator" and not report.problems


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    source, path = generator(1), tmp_path / "t.safetensors"
    save_tuned(tuned_from(source), source, path)
    tensors, metadata = read_safetensors(path)
    without = {name: array for name, array in tensors.items() if name != LATENTS}
    cases = [(without, metadata, "found none"), ({**tensors, LATENTS: tensors[LATENTS][:, 1:]}, metadata, "expected"),
             ({**tensors, LATENTS: tensors[LATENTS] * np.float32(np.nan)}, metadata, "not finite"),
             (tensors, {**metadata, "names": '["one"]'}, "does not name its 2"),
             (tensors, {**metadata, "names": "7"}, "does not name its 2"),
             ({**tensors, "other": tensors[LATENTS]}, metadata, "unexpected tensor 'other'")]
    for stored, facts, message in cases:
        write_safetensors(path, stored, facts)
        with pytest.raises(UserError, match=message):
            load_tuned(path, source)


def test_a_tuning_adds_to_a_style() -> None:
    source = generator(1)
    tuned, adapted = tuned_from(source).generator, source.copy()
    adapted.put({"conv1.conv.weight": source.conv1.conv.weight.numpy() * np.float32(2),
                 "to_rgb1.bias": source.to_rgb1.bias.numpy() + np.float32(1)})
    adapted.latent_avg = None
    both = carried_over(tuned, source, adapted)
    found, before, style = numpy_tensors(both), numpy_tensors(source), numpy_tensors(adapted)
    change = numpy_tensors(tuned)["conv1.conv.weight"] - before["conv1.conv.weight"]
    assert np.array_equal(found["conv1.conv.weight"], style["conv1.conv.weight"] + change)
    assert np.array_equal(found["to_rgb1.bias"], style["to_rgb1.bias"]) and both.latent_avg is None
    assert np.array_equal(found["noises.noise_2"], numpy_tensors(tuned)["noises.noise_2"])
    same = numpy_tensors(carried_over(source, source, adapted))
    assert all(np.array_equal(same[name], style[name]) for name in style)
    assert both.config == replace(adapted.config)

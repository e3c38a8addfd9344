"""Generators of other projects beside those projects' own code, run from a checkout of yours in the reference
environment.

Each test names the variable that points at the checkout; without it the frozen fixtures stand in.
"""
from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from reference import require_reference, run_reference

from jittor_ipl.models.strict import numpy_tensors
from jittor_ipl.models.stylegan2.config import GeneratorConfig
from jittor_ipl.models.stylegan2.generator import Generator
from jittor_ipl.runtime.backend import jt
from jittor_ipl.weights.containers.torch_writer import write_torch
from jittor_ipl.weights.families.registry import identify
from jittor_ipl.weights.generator import load_generator

pytestmark = pytest.mark.reference
FIXTURES = Path(__file__).parents[1] / "fixtures"
TOLERANCE = 1e-5


def checkout(variable: str, project: str, *modules: str) -> Path:
    """Return the checkout that a variable names; skips without it, or without the modules that its code needs."""
    path = os.environ.get(variable)
    if not path:
        pytest.skip(f"{variable} names no checkout of {project}")
    require_reference(*modules)
    return Path(path)


def same_record(made: Path, frozen: Path) -> None:
    """Two records of pictures agree within rounding: another PyTorch may sum in another order."""
    with np.load(made) as new, np.load(frozen) as old:
        assert new.files == old.files
        for name in old.files:
            assert np.abs(new[name] - old[name]).max() <= TOLERANCE * np.abs(old[name]).max(), name


def check_pictures(generator: Generator, record: Path) -> None:
    with np.load(record) as theirs:
        w = generator.mapping(jt.array(theirs["z"]))
        for name, image in (("const", generator.synthesis(w)), ("none", generator.synthesis(w, "none"))):
            error = np.abs(image.numpy() - theirs[name]).max() / np.abs(theirs[name]).max()
            print(f"{record.name} {name}: relative error {error:.1e}")
            assert error <= TOLERANCE


@pytest.mark.parametrize("variable, project, script, files, record, modules", [
    ("JITTOR_IPL_STYLEGAN2_ADA", "stylegan2-ada-pytorch", "nvidia", ("nvidia_ada.pkl", "nvidia_tf.pkl"),
     "nvidia_images.npz", ("torch",)),
    ("JITTOR_IPL_ROSINALITY", "stylegan2-pytorch", "rosinality", ("rosinality.pt",), "rosinality_images.npz",
     ("torch",)),
    ("JITTOR_IPL_PADDLEGAN", "PaddleGAN", "paddle", ("paddlegan.pdparams",), "paddlegan_images.npz", ("paddle",))])
def test_fixtures_made_again(tmp_path: Path, variable: str, project: str, script: str, files: tuple[str, ...],
                             record: str,
                             modules: tuple[str, ...]) -> None:
    path = checkout(variable, project, *modules)
    run_reference(f"tests/parity/make_stylegan2_{script}_fixtures.py", "--repository", path, "--out", tmp_path)
    if script != "paddle":      # Paddle's random numbers change between its versions
        same_record(tmp_path / record, FIXTURES / "stylegan2" / record)
    for name in files:
        check_pictures(load_generator(tmp_path / name), tmp_path / record)


def test_names_of_every_size() -> None:
    path = checkout("JITTOR_IPL_ROSINALITY", "stylegan2-pytorch", "torch")
    tables = json.loads(run_reference("tests/parity/make_stylegan2_rosinality_fixtures.py", "--repository", path,
                                      "--names"))
    assert set(tables) == {"8", "16", "32", "64", "128", "256", "512", "1024"}
    for size, table in tables.items():
        shapes = {name: tuple(shape) for name, shape in table.items()}
        layout = identify(shapes).layout
        assert list(layout.expected.items()) == list(shapes.items()) and layout.config["size"] == int(size)


def test_a_file_of_ours_in_rosinality_s_network(tmp_path: Path) -> None:
    """64 px at full width: their strict load takes our file, and draws what we draw, truncated too."""
    path = checkout("JITTOR_IPL_ROSINALITY", "stylegan2-pytorch", "torch")
    draw = np.random.default_rng(3)
    generator = Generator(GeneratorConfig(64), draw)
    tensors = {name: value + 0.3 * draw.standard_normal(value.shape,
                                                        np.float32) * name.endswith(("bias", "noise.weight"))
               for name, value in numpy_tensors(generator).items()}
    center = 0.3 * draw.standard_normal(512, np.float32)
    write_torch(tmp_path / "ours.pt", {"g_ema": tensors, "latent_avg": center})
    run_reference("tests/parity/make_stylegan2_rosinality_fixtures.py", "--repository", path, "--check",
                  tmp_path / "ours.pt", "--size", 64)
    again = load_generator(tmp_path / "ours.pt")
    check_pictures(again, tmp_path / "ours.npz")
    with np.load(tmp_path / "ours.npz") as theirs:
        w = again.truncate(again.mapping(jt.array(theirs["z"])), 0.5, again.center(1, 0))
        image = again.synthesis(w).numpy()
        assert np.abs(image - theirs["truncated"]).max() <= TOLERANCE * np.abs(theirs["truncated"]).max()


def test_transformer_mappers_of_the_thesis() -> None:
    path = checkout("JITTOR_IPL_ROSINALITY", "stylegan2-pytorch", "torch")
    thesis = checkout("JITTOR_IPL_THESIS", "the thesis (UndergraduateDissertation)", "torch")
    versions = json.loads(run_reference("tests/parity/make_prompt_mapper_fixtures.py", "--repository", path, "--thesis",
                                        thesis))
    for version, heads in (("V1", 2), ("V2", 4), ("V3", 2)):
        shapes = {name: tuple(shape) for name, shape in versions[version].items()}
        layout = identify(shapes).layout
        assert list(layout.expected.items()) == list(shapes.items()) and layout.config["heads"] == heads

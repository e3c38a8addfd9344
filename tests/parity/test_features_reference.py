"""The records and fixtures of the metrics' networks and of edits, made again by the reference libraries."""
from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from network_names import FIXTURES, recorded
from reference import run_reference

from jittor_ipl.weights.containers.read import read_tensors

pytestmark = pytest.mark.reference
GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def test_features_are_recorded_again(tmp_path: Path) -> None:
    run_reference("tests/parity/record_feature_networks.py", tmp_path, timeout=900)
    with np.load(tmp_path / "features.npz") as again, np.load(GOLDEN / "features.npz") as stored:
        assert set(again.files) == set(stored.files)
        for name in stored.files:
            np.testing.assert_allclose(again[name], stored[name], rtol=1e-3, atol=2e-5 * np.abs(stored[name]).max(),
                                       err_msg=name)


@pytest.mark.parametrize("script, folders", [("make_latents_fixtures.py", ["latents"]),
                                             ("make_checkpoint_fixtures.py",
                                              ["encoders", "styleclip", "arcface", "lpips"])])
def test_fixtures_are_made_again(tmp_path: Path, script: str, folders: list[str]) -> None:
    target = tmp_path / folders[0] if len(folders) == 1 else tmp_path
    run_reference(f"tests/parity/{script}", target)
    made = [path for folder in folders for path in sorted((tmp_path / folder).iterdir())]
    assert made
    for path in made:
        again, stored = read_tensors(path), read_tensors(FIXTURES / path.parent.name / path.name)
        assert list(again[0]) == list(stored[0]) and again[1].format == stored[1].format, path.name
        for name, array in stored[0].items():
            np.testing.assert_array_equal(again[0][name], array, err_msg=f"{path.name}: {name}")


def test_names_are_those_of_the_installed_libraries(tmp_path: Path) -> None:
    run_reference("tests/parity/make_network_names.py", tmp_path)
    for path in tmp_path.glob("*/names.json.gz"):
        stored = recorded(path.parent.name)
        for network, tensors in json.loads(gzip.decompress(path.read_bytes())).items():
            assert {name: tuple(shape) for name, shape in tensors.items()} == stored[network], network

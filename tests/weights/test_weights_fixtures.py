"""Every fixture of every family, through inspect and convert and back; cut or flipped anywhere, it is never sound."""
from __future__ import annotations

import json
from pathlib import Path

import fixture_files
import numpy as np
import pytest

from jittor_ipl import cli
from jittor_ipl.weights.containers.read import read_tensors
from jittor_ipl.weights.convert import Written, convert
from jittor_ipl.weights.inspect import inspect
from jittor_ipl.weights.network import read_network
from tests.torture import flip_fixtures


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    return fixture_files.extract(tmp_path_factory.mktemp("fixtures"))


@pytest.mark.parametrize("name", fixture_files.names())
def test_every_fixture_is_sound_and_converts(files, name, tmp_path, capsys):
    assert cli.main(["inspect", str(files / name), "--json"]) == 0, inspect(files / name).problems
    told = json.loads(capsys.readouterr().out)
    assert told["sound"] and all(network["kind"] and network["dialect"] and network["config"]
                                 for network in told["networks"])
    done = list(convert(files / name, tmp_path))
    networks = [network for network in told["networks"] if network["files"]]    # a pipeline's report has none
    assert all(isinstance(part, Written) for part in done) and len(done) == len(networks)
    for part, network in zip(done, networks):
        again = read_network(part.path)
        assert again.layout.kind == part.layout.kind == network["kind"], name
        assert all(np.isfinite(array).all() for array in again.tensors.values())
        assert cli.main(["inspect", str(part.path)]) == 0
        written = read_tensors(part.path)[0]        # converting once more changes nothing
        assert set(again.tensors) == set(written) and all(np.array_equal(again.tensors[k], written[k]) for k in written)


def test_damage_is_refused_listed_or_harmless(tmp_path):
    """A few places of every file; `python -m tests.torture.flip_fixtures` takes thousands."""
    told: list[str] = []
    for case in flip_fixtures.fixtures(tmp_path):
        flip_fixtures.torture(case, 3, True, told)
    assert not told, told[:5]


def test_damage_to_the_smallest_file_of_each_container(tmp_path):
    told: list[str] = []
    for case in flip_fixtures.tiny(tmp_path):
        outcomes, _ = flip_fixtures.torture(case, 120, False, told)
        assert outcomes["refused"] > 30, case.name
    assert not told, told[:5]

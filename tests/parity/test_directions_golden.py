"""The arithmetic of global directions against what PyTorch computed (tests/golden/directions.npz)."""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import golden
import numpy as np
import pytest
from reference import run_reference

from jittor_ipl.editing import words
from jittor_ipl.editing.dictionary import Dictionary
from jittor_ipl.editing.direction import relevances, step_of
from jittor_ipl.editing.responses import unit_rows
from jittor_ipl.editing.statistics import StyleStatistics

ROUNDING = 1e-5         # records are float64, steps float32


@pytest.fixture(scope="module")
def record() -> dict[str, np.ndarray]:
    return golden.record("directions")


def test_text_direction(record, monkeypatch):
    stored = {"face": record["neutral"], "happy face": record["target"]}
    unit = {text: features / np.linalg.norm(features, axis=1, keepdims=True) for text, features in stored.items()}
    monkeypatch.setattr(words, "template_features", lambda clip, text: SimpleNamespace(numpy=lambda: unit[text]))
    found = words.text_direction([SimpleNamespace(known_tokens=None)], "face", "happy face")
    np.testing.assert_allclose(found, record["text"], atol=ROUNDING)


def test_dictionary(record):
    """The responses of every face become unit vectors, their mean as well: what the ways full and first-order sum."""
    responses = unit_rows(record["high"]) - unit_rows(record["low"])                    # [channels, faces, d]
    np.testing.assert_allclose(unit_rows(unit_rows(responses).sum(1)), record["directions"], atol=ROUNDING)


def test_steps(record):
    dictionary = Dictionary(record["directions"].astype(np.float32), (0,), {}, "record")
    statistics = StyleStatistics((np.zeros(24, np.float32),), (record["std"].astype(np.float32),))
    found = relevances(dictionary, record["text"])
    for beta in (.05, .1, .2):
        np.testing.assert_allclose(step_of(dictionary, statistics, found, beta).deltas[0], record[f"step/{beta}"],
                                   atol=ROUNDING)


@pytest.mark.reference
def test_the_record_is_made_again(tmp_path: Path, record):
    run_reference("tests/parity/record_directions.py", tmp_path / "again.npz")
    with np.load(tmp_path / "again.npz") as again:
        for name in again.files:
            np.testing.assert_allclose(again[name], record[name], atol=1e-9, err_msg=name)

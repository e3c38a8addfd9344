"""The records of the metrics' reductions, made again by the reference libraries."""
from __future__ import annotations

import json
from pathlib import Path

import pytest
from reference import require_reference, run_reference

pytestmark = pytest.mark.reference
GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def leaves(value, name: str = "") -> dict[str, float]:
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: leaf for part, inner in items for key, leaf in leaves(inner, f"{name}/{part}").items()}
    return {name: value}


def test_metrics_are_recorded_again(tmp_path: Path) -> None:
    require_reference("skimage", "cv2", "piq", "transformers", "torch_fidelity", "torchmetrics", "pytorch_fid")
    run_reference("tests/parity/record_metrics.py", tmp_path)
    again, stored = (leaves(json.loads((folder / "metrics.json").read_text())) for folder in (tmp_path, GOLDEN))
    assert set(again) == set(stored)
    for name, value in stored.items():
        if not isinstance(value, str):
            assert again[name] == pytest.approx(value, rel=1e-7, abs=1e-9), name

"""The torture in its shortest form: each part is a process of its own, as a person calls it, and must pass."""
from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# About two minutes together. A third of the soak is its warm-up: the pool takes its last blocks in some 40 steps.
COUNTS = {"kills": 4, "corruptions": 60, "disks": 1, "locks": 2, "soak": 150, "compiles": 1}


@pytest.mark.parametrize("part", COUNTS)
def test_part(part, tmp_path):
    done = subprocess.run([sys.executable, "-m", f"tests.torture.{part}", "--short", "--count", str(COUNTS[part]),
                           "--work", str(tmp_path / "work")], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["passed"] and outcome["figures"]


def test_the_report_gathers_the_parts_and_fills_the_page(tmp_path):
    folder = tmp_path / "runs" / "short"
    folder.mkdir(parents=True)
    outcome = {"name": "one", "what": "one thing", "form": "short", "figures": {"kills": 1200, "all_well": True},
               "passed": True}
    (folder / "one.log").write_text("something\n" + json.dumps(outcome) + "\n")
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- figures: written by tests/torture/report.py, not by hand -->\nold\n"
        "<!-- end of the figures -->\nafter\n")
    report = [sys.executable, "-m", "tests.torture.report", str(folder), "--docs", str(page)]
    assert subprocess.run(report, cwd=ROOT).returncode == 0
    text = page.read_text()
    assert "| kills | 1,200 |" in text and "| all well | yes |" in text and "old" not in text
    assert text.startswith("before\n") and text.endswith("-->\nafter\n")
    (folder / "two.log").write_text("Traceback ...\n")
    assert subprocess.run(report, cwd=ROOT).returncode == 1
    assert json.loads((folder / "report.json").read_text())["passed"] is False

"""The interpreter of the reference libraries (torch, transformers, diffusers, ...), and scripts run in it.

Tests that need it carry `pytest.mark.reference`; without that environment they skip and say how to make it.
"""
from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def reference_python() -> Path:
    """Return $JITTOR_IPL_REFERENCE_PYTHON or .venv-parity's interpreter; skips the test when there is none."""
    named = os.environ.get("JITTOR_IPL_REFERENCE_PYTHON")
    python = Path(named) if named else ROOT / ".venv-parity" / "bin" / "python"
    if not python.is_file():
        pytest.skip(f"no reference environment at {python}: bash scripts/parity.sh makes it")
    return python


def require_reference(*modules: str) -> None:
    """Skip the test unless `modules` are installed in the reference environment."""
    find = f"import importlib.util as u; print(*(m for m in {modules!r} if u.find_spec(m) is None))"
    missing = _run(["-c", find], timeout=300).stdout.split()
    if missing:
        pytest.skip(f"the reference environment lacks {', '.join(missing)}: bash scripts/parity.sh installs it")


def run_reference(script: str | os.PathLike, *arguments: object, timeout: float = 300) -> str:
    """Run a script (a path below the repository, or Python text) in the reference environment; return what it printed.

    It sees no GPU, no network and one thread. Fails the test with the script's own message when it ends badly.
    """
    text = os.fspath(script)
    start = [str(ROOT / text)] if "\n" not in text and (ROOT / text).is_file() else ["-c", text]
    done = _run([*start, *map(str, arguments)], timeout)
    assert done.returncode == 0, f"{start[0][:80]} ended with {done.returncode}:\n{done.stderr[-4000:]}"
    return done.stdout


def _run(arguments: list[str], timeout: float) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1",
                   "TRANSFORMERS_OFFLINE": "1", "PYTHONPATH": ""}
    return subprocess.run([str(reference_python()), *arguments], cwd=ROOT, env=environment, capture_output=True,
                          text=True, timeout=timeout)

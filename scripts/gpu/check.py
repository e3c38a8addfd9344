"""Parity, repetition, speed and a whole demo style on one device, as one table; `bash scripts/gpu_check.sh` calls it.

    python scripts/gpu/check.py [--device cuda|cpu] [--quick] [--reference-python PYTHON] [--output DIR]

Every part is a process of its own, so that a fault of one leaves the others. Exit code 1 when a row fails.
"""
from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
# Largest difference allowed, relative to the largest number: operators, and networks that are many of them.
OPERATOR, NETWORK = 2e-5, 2e-4
NETWORKS = ("generator's picture", "CLIP's features", "gradient to w", "U-Net")
# Enough to go through all parts of a run; its pictures are nothing to look at.
QUICK = ("teacher.pairs.count=8", "teacher.pairs.steps=4", "teacher.pairs.sampling_steps=2", "teacher.scores.steps=2",
         "generate.seeds=0-1")


@dataclass(frozen=True)
class Row:
    """One line of the table; `ok` is None where nothing is promised."""

    what: str
    measured: str
    wanted: str
    ok: bool | None


class Failed(Exception):
    """A part ended with an error; the text is its last line."""


def run(words: list[object], device: str, folder: Path | None = None) -> str:
    """Return what a program prints on `device`; raises `Failed`."""
    environment = {**os.environ, "JITTOR_IPL_DEVICE": device, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([str(word) for word in words], cwd=folder or ROOT, env=environment, capture_output=True,
                          text=True, errors="replace")
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()
        raise Failed(f"exit code {done.returncode}: {lines[-1][:200]}")
    return done.stdout


def numbers(device: str, file: Path) -> dict[str, np.ndarray]:
    run([sys.executable, HERE / "cases.py", "numbers", file], device)
    with np.load(file) as arrays:
        return dict(arrays)


def parity(device: str, folder: Path) -> list[Row]:
    """Compare the device with the CPU, and with itself."""
    wanted, first, second = (numbers(name, folder / f"{n}.npz") for n, name in enumerate(("cpu", device, device)))
    errors: dict[str, float] = {}
    for key, want in wanted.items():
        name = key.rpartition("/")[0]
        error = np.abs(first[key] - want).max() / max(np.abs(want).max(), 1e-9)
        errors[name] = max(errors.get(name, 0.0), float(error) if np.isfinite(first[key]).all() else np.inf)
    bounds = {name: NETWORK if name in NETWORKS else OPERATOR for name in errors}
    rows = [Row(f"{name}: {device} beside cpu", f"{error:.1e}", f"< {bounds[name]:.0e}", error < bounds[name])
            for name, error in errors.items()]
    changed = sorted({key.rpartition("/")[0] for key in first if first[key].tobytes() != second[key].tobytes()})
    return [*rows, Row(f"{device} twice", f"other bits: {', '.join(changed)}" if changed else "the same bits",
                       "the same bits", not changed)]


def speed(device: str, python: str | None, quick: bool) -> list[Row]:
    """Time our steps, and PyTorch's of the same shapes where there is one."""
    options = ["--quick"] if quick else []
    ours = json.loads(run([sys.executable, HERE / "cases.py", "speed", *options], device).splitlines()[-1])
    if python is None:
        return [Row(f"step of {name}", f"{ms:.1f} ms", "PyTorch is not here", None) for name, ms in ours.items()]
    theirs = json.loads(run([python, HERE / "torch_steps.py", device, *options], device).splitlines()[-1])
    return [Row(f"step of {name}", f"{ms:.1f} ms", f"PyTorch {theirs[name]:.1f} ms",
                None if quick else ms <= theirs[name]) for name, ms in ours.items()]


def style(device: str, folder: Path, quick: bool) -> list[Row]:
    """Train, generate and verify one style of the demo."""
    start = time.monotonic()
    changes = [f"--set={text}" for text in QUICK] if quick else []
    text = run([sys.executable, "-m", "jittor_ipl", "train-all", "--styles", "disney", *changes], device, folder)
    done = re.search(r"^1 of 1 styles done", text, re.MULTILINE) is not None
    return [Row("one demo style: trained, made, verified", f"{time.monotonic() - start:.0f} s",
                f"pictures in {folder / 'results'}", done)]


def torch_python(asked: str | None) -> str | None:
    """Return the Python that has PyTorch: the one asked for, else this one, else None."""
    return asked or (sys.executable if importlib.util.find_spec("torch") else None)


def table(rows: list[Row]) -> str:
    """Return the rows as a Markdown table."""
    verdict = {True: "ok", False: "FAILED", None: ""}
    lines = [f"| {row.what} | {row.measured} | {row.wanted} | {verdict[row.ok]} |" for row in rows]
    return "\n".join(["| what | measured | wanted | |", "|---|---|---|---|", *lines])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="little of everything: a trial of the script")
    parser.add_argument("--reference-python", metavar="PYTHON", help="a Python that has PyTorch")
    parser.add_argument("--output", metavar="DIR", help="where the demo style is made; else it goes again")
    options = parser.parse_args()
    try:
        run([sys.executable, "-m", "jittor_ipl", "doctor", "--quiet"], options.device)
    except Failed:
        cure = f"python -m jittor_ipl doctor --device {options.device}"
        print(f"error: {options.device} cannot be used here; see: {cure}", file=sys.stderr)
        return 2
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.output or Path(temporary) / "style").absolute()
        folder.mkdir(parents=True, exist_ok=True)
        parts = {"numbers": lambda: parity(options.device, Path(temporary)),
                 "speed": lambda: speed(options.device, torch_python(options.reference_python), options.quick),
                 "style": lambda: style(options.device, folder, options.quick)}
        for name, part in parts.items():
            try:
                rows += part()
            except Failed as error:
                rows.append(Row(name, str(error), "", False))
    print(f"\n{options.device}\n\n{table(rows)}")
    return int(any(row.ok is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())

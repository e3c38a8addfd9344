"""The whole way of a suite: adapt every style, make the seeded pictures, prove them, show what came out."""
from __future__ import annotations

import re
import sys
import time
from argparse import Namespace
from pathlib import Path

from jittor_ipl.config import StyleRun, Suite, load_suite
from jittor_ipl.errors import UserError, nearest
from jittor_ipl.jobs.dealing import Task, deal

ROOT = Path(__file__).resolve().parents[2]  # of the checkout, where run_all.py and test.py lie
METHODS = ("ipl", "nada")
VERIFIED, SHEET = "verified.json", "sheet.png"  # in the results folder


def train_all(arguments: Namespace) -> int:
    """Run `train_all.sh`'s work for the parsed arguments; return 0, or 1 when a style failed or differed."""
    started = time.monotonic()
    overrides = _overrides(arguments)
    suite = load_suite(arguments.config, overrides)
    runs = [suite.run_of(style) for style in _listed(arguments.styles)] or suite.runs()
    devices = _devices(arguments.gpus)
    folder, results = Path("runs") / suite.suite, Path("results") / suite.suite
    codes = deal([_adapt(arguments.config, overrides, run, folder) for run in runs], devices)
    failed = [label for label, code in codes.items() if code]
    finished = [run for run in runs if run.style not in failed]
    proved = bool(finished) and _make_and_prove(folder, results, finished)
    _show(suite, runs, folder, results)
    if failed:
        print(f"failed: {', '.join(failed)} (see above; run again to retry)", file=sys.stderr)
    print(f"{len(finished)} of {len(runs)} styles done in {time.monotonic() - started:.0f} s")
    return int(bool(failed) or not proved)


def _overrides(arguments: Namespace) -> list[str]:
    """Return the settings that the call changes; another method than the suite's own gets folders of its own."""
    if not arguments.method:
        return arguments.set
    if arguments.method not in METHODS:
        raise UserError(f"unknown method {arguments.method!r}{nearest(arguments.method, METHODS)}; choose ipl or nada")
    suite = load_suite(arguments.config, arguments.set)
    name = suite.suite if suite.method == arguments.method else f"{suite.suite}-{arguments.method}"
    return [*arguments.set, f"method={arguments.method}", f'suite="{name}"']


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _devices(text: str) -> list[dict[str, str]]:
    """Return the environment of each worker: one per GPU of "0,1", or the CPU alone."""
    numbers = re.split(r"[,\s]+", text.strip()) if text.strip() else []
    if not all(number.isascii() and number.isdigit() for number in numbers):
        raise UserError(f"GPUS {text!r} is not a list of numbers such as 0,1")
    return [{"CUDA_VISIBLE_DEVICES": number, "JITTOR_IPL_DEVICE": "cuda"} for number in numbers] or [{}]


def _adapt(config: str, overrides: list[str], run: StyleRun, folder: Path) -> Task:
    settings = [word for override in overrides for word in ("--set", override)]
    return Task(run.style, [sys.executable, "-m", "jittor_ipl", "adapt", "--config", config, "--style", run.style, *settings,
                            "--output", str(folder)])


def _make_and_prove(folder: Path, results: Path, runs: list[StyleRun]) -> bool:
    """Call run_all.py and test.py, each in a process of its own as a person would; tell whether both ended well."""
    styles = [word for run in runs for word in ("--style", run.style)]
    python, verified = sys.executable, results / VERIFIED
    build = Task("run_all.py", [python, str(ROOT / "run_all.py"), "--weights", str(folder), *styles])
    prove = Task("test.py", [python, str(ROOT / "test.py"), "--weights", str(folder), *styles, "--json", str(verified)])
    verified.unlink(missing_ok=True)  # an older proof must not be shown for new pictures
    return all(not any(deal([task]).values()) for task in (build, prove))


def _show(suite: Suite, runs: list[StyleRun], folder: Path, results: Path) -> None:
    """Print the table and write the contact sheet of all that the results folder holds."""
    from jittor_ipl.disk.layout import SEEDS
    from jittor_ipl.submission.summary import rows, table, write_sheet
    print("\n" + table(rows(runs, folder, results, results / VERIFIED)) + "\n")
    if (results / SEEDS).is_file():
        write_sheet(results / SHEET, results)
        print(f"pictures: {results}   contact sheet: {results / SHEET}")

"""What the parts of the torture share: their arguments, their outcome as one line of JSON, and children to kill."""
from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "runs" / "torture" / "work"


def parse(description: str, count: int, short: int, argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the arguments that every part takes: `count` is the long form's default, `short` the short form's."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--count", type=int, help=f"default {count}, with --short {short}")
    parser.add_argument("--short", action="store_true", help="the short form that CI runs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="scratch folder (default below runs/torture/work)")
    parser.add_argument("--keep", action="store_true", help="leave the scratch folder for a look")
    arguments = parser.parse_args(argv)
    arguments.count = arguments.count or (short if arguments.short else count)
    arguments.work = (arguments.work or WORK / Path(sys.argv[0]).stem).resolve()
    arguments.began = time.monotonic()
    return arguments


def fresh(folder: Path) -> Path:
    """Return the folder, emptied."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def finish(name: str, arguments: argparse.Namespace, figures: Mapping[str, Any], passed: bool, what: str = "") -> int:
    """Print the figures for a person and as the last line's JSON; return the exit code."""
    figures = {**figures, "seconds": round(time.monotonic() - arguments.began)}
    for key, value in figures.items():
        print(f"  {key.replace('_', ' '):<44} {value}")
    outcome = {"name": name, "what": what, "form": "short" if arguments.short else "long", "figures": figures,
               "passed": bool(passed)}
    if passed and not arguments.keep:
        shutil.rmtree(arguments.work, ignore_errors=True)
    print(json.dumps(outcome, ensure_ascii=False), flush=True)
    return 0 if passed else 1


def forked(work: Callable[[], object], log: Path) -> int:
    """Run `work` in a forked child, its output in `log`; return the child's number at once.

    Jittor survives a fork only as long as nothing was computed: the parent imports, the children compute.
    The child's exit code: that of a SystemExit, 1 for any other exception, else 0.
    """
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        handle = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        work()
        code = 0
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 1
    except BaseException:  # noqa: BLE001 - told in the log, and by the exit code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def waited(child: int) -> int:
    """Wait for a child; return its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_child(work: Callable[[], object], log: Path) -> None:
    """Run `work` in a forked child and wait; RuntimeError with the end of the log when it fails."""
    code = waited(forked(work, log))
    if code:
        raise RuntimeError(f"exit code {code}:\n{log.read_text(errors='replace')[-3000:]}")

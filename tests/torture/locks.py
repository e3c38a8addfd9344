"""Two processes on one output folder: the second is refused in one line that names the first; a dead one blocks nobody.

    python -m tests.torture.locks
"""
from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from jittor_ipl import cli
from jittor_ipl.adaptation import adapt
from jittor_ipl.config import load_suite
from jittor_ipl.disk.lock import locked
from tests.torture.common import finish, forked, fresh, in_child, parse, waited
from tests.torture.suite import write_tiny

HOLD = """
import sys, time
from jittor_ipl.disk.lock import locked
with locked(sys.argv[1]):
    print('held', flush=True)
    time.sleep(600)
"""


def main(argv: list[str] | None = None) -> int:
    """Run the cases and print the figures."""
    arguments = parse(__doc__.splitlines()[0], 100, 3, argv)
    work = fresh(arguments.work)
    suite = work / "networks/suite.yaml"
    in_child(lambda: write_tiny(suite.parent), work / "log")
    run = work / "runs/tiny"
    in_child(lambda: adapt.adapt_style(load_suite(suite).run_of("disney"), run / "00-disney", stream=io.StringIO()),
             work / "log")
    failed: list[str] = []
    commands = {"adapt": (run / "00-disney", cli.main,
                          ["adapt", "--config", str(suite), "--style", "disney", "--output", str(run)]),
                "adapt --restart": (run / "00-disney", cli.main,
                                    ["adapt", "--config", str(suite), "--style", "disney", "--restart",
                                                                  "--output", str(run)]),
                "run_all.py": (work / "results/tiny", cli.run_all,
                               ["--weights", str(run), "--output", str(work / "results")]),
                "release": (work / "B_weight", cli.main,
                            ["release", "--runs", str(run), "--output", str(work / "B_weight")])}
    refused = sum(_refused(work, name, *command, failed) for name, command in commands.items())
    stale = sum(_stale(work / "stale", failed) for _ in range(arguments.count))
    figures = {"commands_refused": f"{refused} of {len(commands)}", "killed_holders": arguments.count,
               "locks_taken_after_them": stale,
               "orphaned_children_of_killed_holders": _orphan(work / "orphan", failed), "races_won_by_exactly_one":
               sum(_race(work / "race", failed) for _ in range(arguments.count)), "failed": failed[:5]}
    return finish("locks", arguments, figures, not failed, "two processes on one output folder")


def _holder(folder: Path) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def _refused(work: Path, name: str, folder: Path, command, argv: list[str], failed: list[str]) -> bool:
    """Hold the lock of the command's folder, run it, and look at what it says and changes."""
    before = {path: path.read_bytes()
              for path in folder.rglob("*") if path.is_file() and path.name != ".lock"} if folder.exists() else {}
    holder, log = _holder(folder), work / f"{name.split()[0]}.log"
    log.unlink(missing_ok=True)
    code = waited(forked(lambda: sys.exit(command(argv)), log))
    told = log.read_text().strip()
    held = code == 2 and told.count("\n") == 0 and f"another process ({holder.pid} on " in told
    after = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}
    holder.kill()
    holder.wait()
    if not held or after != before:
        failed.append(f"{name}: exit code {code}: {told[:300]}")
    return held


def _stale(folder: Path, failed: list[str]) -> bool:
    """Kill a holder; its lock file stays, and the next process takes the lock at once."""
    child = _forked_holder(folder)
    os.kill(child, signal.SIGKILL)
    waited(child)
    return _taken(folder, failed, "after a killed holder")


def _forked_holder(folder: Path) -> int:
    """Fork a child that holds the lock; return when it does."""
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        with locked(folder):
            os.write(tell, b"held")
            time.sleep(600)
        os._exit(0)
    os.close(tell)
    assert os.read(told, 4) == b"held"
    os.close(told)
    return child


def _taken(folder: Path, failed: list[str], when: str) -> bool:
    try:
        with locked(folder):
            return True
    except ValueError as error:
        failed.append(f"{when}: {error}")
        return False


def _orphan(folder: Path, failed: list[str]) -> int:
    """Kill a holder that has forked a child, as compilers' worker pools do: the living child must not keep the lock."""
    told, tell = os.pipe()
    holder = os.fork()
    if not holder:
        with locked(folder):
            child = os.fork()
            if not child:
                time.sleep(600)
                os._exit(0)
            time.sleep(0.2)  # until the child has let go
            os.write(tell, str(child).encode())
            time.sleep(600)
        os._exit(0)
    child = int(os.read(told, 20))
    os.kill(holder, signal.SIGKILL)
    waited(holder)
    taken = _taken(folder, failed, "after a killed holder whose child lives")
    os.kill(child, signal.SIGKILL)
    return int(taken)


def _race(folder: Path, failed: list[str]) -> bool:
    """Let four processes want the lock at once; the one that gets it holds it until the others have tried."""
    start, go = os.pipe()
    tried, told = os.pipe()
    children = [_contender(folder, start, tried, told) for _ in range(4)]
    os.write(go, b"4444")
    codes = [waited(child) for child in children]
    for handle in (start, go, tried, told):
        os.close(handle)
    if sorted(codes) != [0, 2, 2, 2]:
        failed.append(f"race: exit codes {codes}")
    return sorted(codes) == [0, 2, 2, 2]


def _contender(folder: Path, start: int, tried: int, told: int) -> int:
    child = os.fork()
    if child:
        return child
    os.read(start, 1)
    try:
        with locked(folder):
            for _ in range(3):
                os.read(tried, 1)
        os._exit(0)
    except ValueError:
        os.write(told, b"2")
        os._exit(2)


if __name__ == "__main__":
    raise SystemExit(main())

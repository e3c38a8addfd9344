"""Steps a second of stage 2 of the demo, alone and beside as many busy loops as there are cores, as JSON lines.

    python scripts/speed/busy.py                        what the runtime sets, against libgomp's own setting
    python scripts/speed/busy.py --spins 0 1000 10000   values of GOMP_SPINCOUNT
    python scripts/speed/busy.py --busy-steps 0         no busy loops: what a setting costs on a quiet machine

Every setting has a process of its own, since libgomp reads it once. They take runs of steps in turn, in changing order,
so that whatever else the machine does falls on all of them; a setting's time is the median of its runs' medians.
`quiet` is that over the last setting's (libgomp's own unless told otherwise), `slower` a setting's busy time over its
quiet one.
"""
from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from statistics import median

LIBGOMP = "300000"  # what libgomp takes by itself
LOOP = [sys.executable, "-c", "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"]   # ends with us


class Runner:
    """A process in which stage 2 runs; `step()` makes it take one step."""

    def __init__(self, spins: str):
        environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
        environment |= {} if spins == "runtime" else {"GOMP_SPINCOUNT": spins}
        self.process = subprocess.Popen([sys.executable, __file__, "--here"], env=environment, text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def step(self) -> tuple[float, float]:
        """Return wall and CPU seconds of the next step."""
        print(file=self.process.stdin)
        line = self.process.stdout.readline()
        assert line, f"the process ended: {self.process.wait()}"
        return tuple(json.loads(line))


def run_here() -> None:
    """Take a step of stage 2 for every line of stdin and print its seconds; ends with stdin."""
    import training
    began = []

    def hook(*_: object) -> bool:
        now = time.perf_counter(), time.process_time()
        if began:
            print(json.dumps([now[0] - began[0], now[1] - began[1]]), flush=True)
        more = sys.stdin.readline()
        began[:] = time.perf_counter(), time.process_time()
        return not more

    training.run_stage2("demo", 100_000, hook)


def measure(runners: dict[str, Runner], runs: int, steps: int) -> dict[str, tuple[float, float]]:
    """Return each runner's wall and CPU seconds a step: medians of `runs` medians of `steps` steps after two more."""
    found = {name: [] for name in runners}
    for run in range(runs):
        for name in list(runners)[::1 if run % 2 else -1]:
            taken = [runners[name].step() for _ in range(2 + steps)][2:]
            found[name].append([median(part) for part in zip(*taken)])
            time.sleep(0.02)  # threads that still spin must not slow the next one
    return {name: tuple(median(part) for part in zip(*medians)) for name, medians in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spins", nargs="+", default=["runtime", LIBGOMP], metavar="N",
                        help="values of GOMP_SPINCOUNT; `runtime` leaves it to the package (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=6, help="runs of every setting (default %(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="steps of a quiet run (default %(default)s)")
    parser.add_argument("--busy-steps", type=int, default=4, help="steps of a busy run (default %(default)s)")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        return run_here()
    runners, loops = {name: Runner(name) for name in options.spins}, []
    quiet = measure(runners, options.runs, options.steps)
    try:  # a session of their own: the system shares the cores between sessions, as between a user's programs
        loops += [subprocess.Popen(LOOP, start_new_session=True) for _ in os.sched_getaffinity(0) if options.busy_steps]
        busy = measure(runners, options.runs, options.busy_steps) if loops else {}
    finally:
        for process in [*loops, *(runner.process for runner in runners.values())]:
            process.kill()
    for name, (wall, cpu) in quiet.items():
        line = {"spins": name, "step_s": round(wall, 4), "step_cpu_s": round(cpu, 4), "steps_per_s": round(1 / wall, 2),
                "quiet": round(wall / quiet[options.spins[-1]][0], 3)}
        if busy:
            line |= {"busy_step_s": round(busy[name][0], 3), "busy_steps_per_s": round(1 / busy[name][0], 2),
                     "slower": round(busy[name][0] / wall, 1)}
        print(json.dumps(line))


if __name__ == "__main__":
    main()

"""Two processes compile Jittor's core at once in an empty home, killed at random moments; then kernels, killed as well.

Only the process itself gets the SIGKILL, not its compilers: that is the harder case. A killed one is started again;
at the end both must come to the reference's numbers. Then children compile kernels that nobody compiled before and are
killed in the middle; the next child must compute the killed one's kernels correctly.

    python -m tests.torture.compiles --count 50
"""
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np

from tests.torture.common import ROOT, finish, forked, fresh, parse, waited

CORE_KILLS, OBJECTS = 8, 140  # the core has about 150 object files
PATIENCE = 1500  # seconds; a core compiles in 3 minutes on 2 free cores
CORE = """
import json, numpy as np
from jittor_ipl.runtime.backend import jt, nn
random = np.random.default_rng(0)
x, w = (jt.array(random.standard_normal(shape).astype(np.float32)) for shape in ((2, 3, 16, 16), (4, 3, 3, 3)))
y = nn.conv2d(x, w, padding=1)
loss = (jt.sigmoid(y) * y).sum()
print(json.dumps([float(loss.item()), jt.grad(loss, w).numpy().astype(float).tolist()]))
"""


def main(argv: list[str] | None = None) -> int:
    """Run both parts and print the figures."""
    arguments = parse(__doc__.splitlines()[0], 50, 1, argv)
    if os.environ.get("TORTURE_KERNELS"):
        return _kernels(arguments)
    work = fresh(arguments.work)
    home = None if arguments.short else work / "home"
    core = _core(arguments, home) if home else {"core": "not in the short form"}
    environment = {**os.environ, "TORTURE_KERNELS": "1", **({"HOME": str(home)} if home else {})}
    done = subprocess.run([sys.executable, "-m", "tests.torture.compiles", "--count", str(arguments.count), "--work",
                           str(work / "kernels"), "--seed", str(arguments.seed)], cwd=ROOT, env=environment, text=True,
                          stdout=subprocess.PIPE)
    kernels = json.loads(done.stdout.strip().splitlines()[-1]) if done.stdout.strip() else {"kernels_correct": False}
    figures = {**core, **kernels}
    passed = done.returncode == 0 and (home is None or core["core_correct"]) and kernels["kernels_correct"]
    return finish("compiles", arguments, figures, passed,
                  "two cold processes compiling at once, killed while compiling")


def _core(arguments: Namespace, home: Path) -> dict[str, object]:
    """Let two processes meet in an empty home; kill one or the other, mostly the one that compiles, and start it
    again.
    """
    reference = json.loads(subprocess.run([sys.executable, "-c", CORE], cwd=ROOT, check=True,
                                          capture_output=True).stdout)
    home.mkdir()
    random = np.random.default_rng(arguments.seed)
    running, kills, of_the_compiling, began = [_cold(home, 0), _cold(home, 1)], 0, 0, time.monotonic()
    # spread over the compilation, however long it takes
    for progress in sorted(random.integers(0, OBJECTS, CORE_KILLS)):
        while _objects(home) < progress and not _compiled(home) and time.monotonic() - began < PATIENCE:
            time.sleep(0.2)
        time.sleep(float(random.uniform(0, 5)))
        busy = [_children(process.pid) > 0 for process in running]
        victim = int(busy[1]) if any(busy) and random.random() < 0.75 else int(random.integers(2))
        if running[victim].poll() is None and not _compiled(home):
            running[victim].send_signal(signal.SIGKILL)
            kills += 1
            of_the_compiling += busy[victim]
            running[victim].wait()
            running[victim] = _cold(home, victim)
    correct = all(_result(process, home, number) == reference for number, process in enumerate(running))
    left = _processes(home)
    return {"core_kills": kills, "core_kills_of_the_compiling_process": of_the_compiling,
            "core_seconds": round(time.monotonic() - began), "core_correct": correct and not left,
            "processes_left": len(left)}


def _objects(home: Path) -> int:
    return sum(1 for _ in home.rglob("*.o"))


def _children(process: int) -> int:
    try:
        return len(Path(f"/proc/{process}/task/{process}/children").read_text().split())
    except OSError:
        return 0


def _cold(home: Path, number: int) -> subprocess.Popen:
    environment = {key: value for key, value in os.environ.items() if key != "JITTOR_HOME"} | {"HOME": str(home)}
    with open(home / f"{number}.out", "w") as out, open(home / f"{number}.err", "a") as error:
        return subprocess.Popen([sys.executable, "-c", CORE], cwd=ROOT, env=environment, stdout=out, stderr=error)


def _compiled(home: Path) -> bool:
    return any(home.rglob("jittor_core*.so"))


def _result(process: subprocess.Popen, home: Path, number: int) -> object:
    try:
        process.wait(PATIENCE)
        return json.loads((home / f"{number}.out").read_text())
    except (subprocess.TimeoutExpired, ValueError):
        process.kill()
        return None


def _processes(home: Path) -> list[int]:
    """Return the living processes whose home this is: orphans of killed ones."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"HOME={home}".encode() in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def _kernels(arguments: Namespace) -> int:
    """Kill children that compile kernels; print the figures as one line of JSON."""
    from jittor_ipl.runtime.backend import jt  # imported, nothing computed: children are forked from here
    fresh(arguments.work)
    random = np.random.default_rng([arguments.seed, os.getpid()])  # kernels that no earlier call left in the cache
    log, ready = arguments.work / "log", arguments.work / "ready"
    hits, correct, before = 0, 0, None
    seconds = _timed(lambda: waited(forked(lambda: _compute(jt, _numbers(random)), log)))
    for _ in range(arguments.count + 1):
        numbers = _numbers(random) if correct + (before is None) <= arguments.count else None
        ready.unlink(missing_ok=True)
        child = forked(lambda: _victim(jt, before, numbers, ready), log)
        while not ready.exists() and _alive(child):
            time.sleep(0.01)
        correct += before is not None and ready.exists()
        if correct == arguments.count or not ready.exists():
            os.kill(child, signal.SIGKILL)
            waited(child)
            break
        time.sleep(float(random.uniform(0, seconds)))
        os.kill(child, signal.SIGKILL)
        waited(child)
        hits += ready.read_text() != "done"
        before = numbers
    print(json.dumps({"kernel_kills": arguments.count, "kernel_kills_in_the_middle": hits,
                      "kernels_recomputed_correctly": correct, "kernels_correct": correct == arguments.count}))
    return 0 if correct == arguments.count else 1


def _alive(child: int) -> bool:
    with open(f"/proc/{child}/stat") as file:
        return file.read().split(") ")[1][0] != "Z"


def _numbers(random: np.random.Generator) -> list[float]:
    return [round(float(value), 6) for value in random.uniform(1, 2, 1)]


def _timed(work) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _victim(jt, before: list[float] | None, numbers: list[float] | None, ready: Path) -> None:
    """Check the kernels of the killed child before, say so, and compile new ones until the kill comes."""
    if before is not None:
        _compute(jt, before)
    ready.write_text("checked")
    if numbers is not None:
        _compute(jt, numbers)
        ready.write_text("done")
    time.sleep(600)


def _compute(jt, numbers: list[float]) -> None:
    """Compile one kernel per number and compare what it computes with NumPy; AssertionError when it differs."""
    x = np.linspace(-1, 1, 64, dtype=np.float32)
    for number in numbers:
        y = jt.code([64], "float32", [jt.array(x)],
                    cpu_src=f"for (int i = 0; i < in0_shape0; i++) @out(i) = @in0(i) * {number}f + 1;").numpy()
        assert np.allclose(y, x * np.float32(number) + 1, atol=1e-6), number


if __name__ == "__main__":
    raise SystemExit(main())

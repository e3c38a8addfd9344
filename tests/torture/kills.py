"""Kill a small training run again and again, inside its saves too, and resume it each time.

Half of the kills come after a random time, half at a random file operation of the run (before or after a flush to disk,
rename, removal or creation of a folder), some of them with the file that was about to be flushed cut or zeroed, as a
power cut leaves it, and some counted from the end of a stage on, where its weights and the report are written. The
run's code is the shipped one: the harness only counts the operating system calls of the child. One run is killed until
it finishes, then its files are compared with those of a run that nobody disturbed.

    python -m tests.torture.kills --count 200
"""
from __future__ import annotations

import io
import json
import os
import shutil
import signal
import stat
import time
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jittor_ipl.adaptation import adapt  # imports Jittor, computes nothing: children are forked from here
from jittor_ipl.config import StyleRun, load_suite
from jittor_ipl.disk.integrity import read_sealed
from jittor_ipl.images.files import load_image
from jittor_ipl.train.checkpoint import Checkpoints
from jittor_ipl.train.state import Loop
from jittor_ipl.weights.containers.safetensors import read_safetensors
from tests.torture.common import ROOT, finish, forked, fresh, in_child, parse, waited
from tests.torture.suite import write_tiny

FILE_CALLS = ("fsync", "replace", "rename", "unlink", "rmdir", "mkdir")
STAGES = ("mapper", "generator")
RUN = ["mapper.steps=3", "mapper.batch=4", "generator.steps=5", "generator.batch=2", "run.sample_every=2",
       "run.samples=2",
       "run.checkpoint_every=1", "run.log_every=1", "run.tensorboard=false"]


@dataclass
class Tally:
    """What the chains of kills found."""

    kills: int = 0
    by_clock: int = 0
    at_file_calls: int = 0
    torn: int = 0
    inside_saves: int = 0           # proven by what lay half-written on disk
    before_the_first_checkpoint: int = 0
    in_stage_1: int = 0
    in_stage_2: int = 0
    after_training: int = 0
    resumes: int = 0
    runs_finished: int = 0
    runs_bit_equal: int = 0
    most_steps_done_again: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Kill:
    """When to kill: after `seconds`, or at the `call`-th file call (`before` it or after; `torn`: its file damaged).

    `late` counts the calls from the end of a stage's training on.
    """

    seconds: float | None
    call: int = 0
    before: bool = True
    torn: bool = False
    late: bool = False


def main(argv: list[str] | None = None) -> int:
    """Run the chains and print the figures."""
    arguments = parse(__doc__.splitlines()[0], 200, 6, argv)
    tally = Tally()
    fresh(arguments.work)
    suites = _suites(arguments)
    for number in range(10**6):
        name = list(suites)[number % len(suites)]
        _chain(arguments, name, suites[name], number, tally)
        equal = f"{tally.runs_bit_equal}/{tally.runs_finished} runs bit-equal"
        print(f"  run {number} ({name}): {tally.kills} kills, {equal}", flush=True)
        if tally.kills >= arguments.count or tally.faults:
            break
    figures = {**vars(tally), "faults": tally.faults[:5]}
    passed = tally.kills >= arguments.count and not tally.faults and tally.runs_bit_equal == tally.runs_finished \
        and tally.resumes == tally.kills
    return finish("kills", arguments, figures, passed, "kill -9 at random moments of training, inside saves too")


def _suites(arguments: Namespace) -> dict[str, tuple[StyleRun, Path, float]]:
    """Return name -> (run, folder of the undisturbed run, its seconds)."""
    suite = arguments.work / "tiny"
    in_child(lambda: write_tiny(suite), arguments.work / "networks.log")
    runs = {"tiny, every random draw": load_suite(suite / "suite.yaml").runs()[0],
            "tiny, one checkpoint kept": load_suite(suite / "suite.yaml",
                                                    ["run.keep=1", "run.checkpoint_every=2"]).runs()[0]}
    if not arguments.short:
        demo = ROOT / "configs" / "demo_clip.yaml"
        runs["tiny, NADA"] = load_suite(suite / "suite.yaml", ["method=nada", "run.keep=1"]).runs()[1]
        runs["demo suite"] = load_suite(demo, [*RUN, "run.keep=2"]).run_of("disney")
    found = {}
    for name, run in runs.items():
        folder = arguments.work / f"undisturbed-{len(found)}"
        # the first one compiles; only the second one's time counts
        for again in (folder.with_suffix(".first"), folder):
            began = time.monotonic()
            in_child(lambda: adapt.adapt_style(run, again, stream=io.StringIO()), arguments.work / "undisturbed.log")
        if _content(again) != _content(folder.with_suffix(".first")):
            raise RuntimeError(f"{name}: two undisturbed runs differ")
        found[name] = run, folder, time.monotonic() - began
    return found


def _chain(arguments: Namespace, name: str, suite: tuple[StyleRun, Path, float], number: int, tally: Tally) -> None:
    """Kill one run until it finishes."""
    run, undisturbed, seconds = suite
    folder, random = arguments.work / "run", np.random.default_rng([arguments.seed, number])
    shutil.rmtree(folder, ignore_errors=True)
    starts, log = arguments.work / "starts.jsonl", arguments.work / "children.log"
    log.unlink(missing_ok=True)
    killed = False
    while True:
        before = _steps(folder, run)
        starts.unlink(missing_ok=True)
        kill = _draw(random, seconds) if tally.kills < arguments.count else None
        child = forked(lambda: _train(run, folder, starts, kill, random), log)
        if kill is not None and kill.seconds is not None:
            time.sleep(kill.seconds)
            os.kill(child, signal.SIGKILL)
        code = waited(child)
        tally.resumes += killed and code in (0, -signal.SIGKILL)
        _check_starts(starts, before, run, tally, name)
        if code != -signal.SIGKILL:
            break
        killed = True
        _note(folder, run, kill, before, tally)
    if code:
        tally.faults.append(f"{name}: exit code {code}: {log.read_text(errors='replace')[-500:]}")
        return
    tally.runs_finished += 1
    differs = [key for key, value in _content(undisturbed).items() if _content(folder).get(key) != value]
    tally.runs_bit_equal += not differs
    leftovers = _leftovers(folder)
    if differs or leftovers:
        tally.faults.append(f"{name}: differs in {differs}, left over: {leftovers}")


def _draw(random: np.random.Generator, seconds: float) -> Kill:
    if random.random() < 0.5:
        return Kill(float(random.uniform(0, 0.5 * seconds)))
    before, late = random.random() < 0.5, random.random() < 0.3
    return Kill(None, int(random.integers(1, 12 if late else 60)), before, before and random.random() < 0.5, late)


def _train(run: StyleRun, folder: Path, starts: Path, kill: Kill | None, random: np.random.Generator) -> None:
    """The child: count its file calls, note where its stages start, train."""
    began = _count_calls(kill, random, folder) if kill is not None and kill.seconds is None else lambda: None
    for name in ("train_mapper", "train_generator"):
        setattr(adapt, name, _noting(getattr(adapt, name), name.removeprefix("train_"), starts, began))
    adapt.adapt_style(run, folder, stream=io.StringIO())


def _noting(train, stage: str, starts: Path, ended):
    def noted(*args, loop: Loop, **kwargs):
        with open(starts, "a", encoding="ascii") as file:
            file.write(json.dumps([stage, loop.start]) + "\n")
        result = train(*args, loop=loop, **kwargs)
        ended()
        return result
    return noted


def _count_calls(kill: Kill, random: np.random.Generator, folder: Path):
    """Wrap the file calls of this process; return what starts the count of a late kill."""
    done, counts = 0, not kill.late
    log = folder / "metrics.jsonl"
    # inode -> bytes that a power cut cannot take
    flushed = {log.stat().st_ino: log.stat().st_size} if log.exists() else {}

    def counted(call):
        def wrapper(*args, **kwargs):
            nonlocal done
            done += counts
            if done >= kill.call and kill.before:
                if kill.torn and call is os_fsync:
                    _tear(args[0], random, flushed)
                os.kill(os.getpid(), signal.SIGKILL)
            result = call(*args, **kwargs)
            if call is os_fsync:
                flushed[os.fstat(args[0]).st_ino] = os.fstat(args[0]).st_size
            if done >= kill.call:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return wrapper
    os_fsync = os.fsync
    for name in FILE_CALLS:
        setattr(os, name, counted(getattr(os, name)))

    def begin() -> None:
        nonlocal counts
        counts = True
    return begin


def _tear(handle: int, random: np.random.Generator, flushed: dict[int, int]) -> None:
    """Cut the file or zero a part of it: what a power cut may leave of bytes that were not flushed yet."""
    status = os.fstat(handle)
    safe = flushed.get(status.st_ino, 0)
    if not stat.S_ISREG(status.st_mode) or status.st_size <= safe:
        return
    place = int(random.integers(safe, status.st_size))
    if random.random() < 0.5:
        os.ftruncate(handle, place)
    else:
        os.pwrite(handle, bytes(min(4096, status.st_size - place)), place)


def _steps(folder: Path, run: StyleRun) -> dict[str, int]:
    """Return the newest verified step of each stage."""
    newest = {stage: Checkpoints(folder / "checkpoints" / stage).latest() for stage in STAGES}
    return {stage: latest.step if latest else 0 for stage, latest in newest.items()}


def _check_starts(starts: Path, before: dict[str, int], run: StyleRun, tally: Tally, name: str) -> None:
    """A stage must go on after its newest verified checkpoint."""
    for line in starts.read_text().splitlines() if starts.exists() else ():
        stage, start = json.loads(line)
        if start != before[stage]:
            tally.faults.append(f"{name}: {stage} went on after step {start}, saved was {before[stage]}")


def _note(folder: Path, run: StyleRun, kill: Kill, before: dict[str, int], tally: Tally) -> None:
    """Count a kill and check what it left: no step lost that was saved, every visible file whole."""
    tally.kills += 1
    tally.by_clock += kill.seconds is not None
    tally.at_file_calls += kill.seconds is None
    tally.torn += kill.torn
    tally.inside_saves += bool(_leftovers(folder))
    after = _steps(folder, run)
    if any(after[stage] < before[stage] for stage in STAGES):
        tally.faults.append(f"a saved step was lost: {before} -> {after}")
    told = _told(folder)
    done = {stage: max((step for where, step in told if where == stage), default=0) for stage in STAGES}
    tally.most_steps_done_again = max(tally.most_steps_done_again, *(done[stage] - after[stage] for stage in STAGES))
    total = {"mapper": run.mapper.steps if run.method == "ipl" else 0, "generator": run.generator.steps}
    tally.before_the_first_checkpoint += not any(after.values())
    tally.in_stage_1 += bool(total["mapper"]) and 0 < after["mapper"] < total["mapper"]
    tally.in_stage_2 += after[
        "mapper"] == total["mapper"] and after["generator"] < total["generator"] and any(after.values())
    tally.after_training += after["generator"] == total["generator"]
    tally.faults.extend(f"left broken by a kill: {path}: {error}" for path, error in _broken(folder))


def _leftovers(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in folder.rglob(".*") if ".tmp" in path.name and not
            path.name.startswith(".tmp-gone")]


def _told(folder: Path) -> list[tuple[str, int]]:
    path = folder / "metrics.jsonl"
    records = [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []
    return [(record["stage"], record["step"]) for record in records]


def _broken(folder: Path) -> list[tuple[Path, str]]:
    """Return the visible files that are not whole."""
    readers = {".png": load_image, ".safetensors": read_safetensors, ".json": lambda path: json.loads(path.read_text()),
               ".yaml": lambda path: StyleRun.model_validate(__import__("yaml").safe_load(path.read_text()))}
    found = []
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or path.suffix not in readers:
            continue
        try:
            readers[path.suffix](path)
        except Exception as error:  # noqa: BLE001 - any way of not being readable counts
            found.append((path, str(error)))
    return found


def _content(folder: Path) -> dict[str, object]:
    """Return what two runs of one configuration must agree on: bytes of weights and pictures, losses, report."""
    report = read_sealed(folder / "report.json", "report")
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
             if path.suffix in (".safetensors", ".png") and "checkpoints" not in path.parts}
    return {**files, "report": {key: value for key, value in report.items() if not key.startswith("seconds")},
            "losses": [[value for key, value in record.items() if key != "seconds"] for record in records]}


if __name__ == "__main__":
    raise SystemExit(main())

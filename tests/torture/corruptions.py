"""Damage checkpoints, releases, results and reports in every way a disk, a copy or a hand can, and see it noticed.

Each damage is one random change of one file (a bit, several bits, a cut, a block of zeros or noise, bytes more, a piece
twice, gone, another file's content, the same file of another checkpoint or release), or a whole folder under another's
name. Noticed means: a resume passes the checkpoint over and takes the older one; `test.py`, `run_all.py` or `generate`
ends with another exit code than 0; a finished run is not taken for finished. The undamaged folders must always load.

    python -m tests.torture.corruptions --count 1600
"""
from __future__ import annotations

import contextlib
import io
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jittor_ipl import cli
from jittor_ipl.adaptation import adapt
from jittor_ipl.adaptation.inputs import run_identity
from jittor_ipl.config import load_suite
from jittor_ipl.train.checkpoint import Checkpoints
from tests.torture.common import ROOT, finish, fresh, in_child, parse
from tests.torture.suite import write_tiny

Change = Callable[[bytearray, np.random.Generator], bytes]


def _flip_bit(data: bytearray, random: np.random.Generator) -> bytes:
    data[random.integers(len(data))] ^= 1 << random.integers(8)
    return bytes(data)


def _flip_bits(data: bytearray, random: np.random.Generator) -> bytes:
    for place in random.choice(len(data), min(len(data), int(random.integers(2, 65))), replace=False):
        data[place] ^= 1 << random.integers(8)
    return bytes(data)


def _cut(data: bytearray, random: np.random.Generator) -> bytes:
    return bytes(data[:random.integers(len(data))])


def _block(data: bytearray, random: np.random.Generator, fill: Callable[[int], bytes]) -> bytes:
    size = int(2 ** random.integers(0, 13))
    start = int(random.integers(len(data))) // size * size
    data[start:start + size] = fill(len(data[start:start + size]))
    return bytes(data)


def _zero(data: bytearray, random: np.random.Generator) -> bytes:
    return _block(data, random, bytes)


def _noise(data: bytearray, random: np.random.Generator) -> bytes:
    return _block(data, random, random.bytes)


def _longer(data: bytearray, random: np.random.Generator) -> bytes:
    more = random.bytes(int(random.integers(1, 4097)))
    return bytes(data) + (more if random.random() < 0.5 else bytes(len(more)) if random.random() < 0.5 else b"\n")


def _twice(data: bytearray, random: np.random.Generator) -> bytes:
    start, end = sorted(random.integers(0, len(data) + 1, 2))
    return bytes(data[:end] + data[start:end] + data[end:])


CHANGES: dict[str, Change] = {"one bit flipped": _flip_bit, "several bits flipped": _flip_bits, "cut off": _cut,
                              "block of zeros": _zero, "block of noise": _noise, "bytes appended": _longer,
                              "a piece twice": _twice}


@dataclass
class Target:
    """A folder to damage: its files, another folder of the same kind to take files from, and how damage is noticed."""

    name: str
    folder: Path
    files: list[Path]
    other: Path                        # holds the same names
    noticed: Callable[[], bool]
    clean: Callable[[], bool]          # loads undamaged

    def __post_init__(self) -> None:
        self.whole = {path: path.read_bytes() for path in self.files}
        self.names = [str(path.relative_to(self.folder)) for path in self.files]

    def damage(self, random: np.random.Generator) -> str:
        """Change one file; return what was done. A change that changes nothing is drawn again."""
        kinds = [*CHANGES, "gone", "another file's content", "from another folder"]
        weights = np.array([4 if kind == "one bit flipped" else 1 for kind in kinds], float)
        while True:
            path = self.files[random.integers(len(self.files))]
            kind = kinds[random.choice(len(kinds), p=weights / weights.sum())]
            new = self._changed(path, kind, random)
            if new is None:
                path.unlink()
                return f"{path.name}: gone"
            if new != self.whole[path]:
                path.write_bytes(new)
                return f"{path.name}: {kind}"

    def _changed(self, path: Path, kind: str, random: np.random.Generator) -> bytes | None:
        if kind == "gone":
            return None
        if kind == "another file's content":
            return self.whole[self.files[random.integers(len(self.files))]]
        if kind == "from another folder":
            source = self.other / path.relative_to(self.folder)
            return source.read_bytes() if source.is_file() else self.whole[path]
        return CHANGES[kind](bytearray(self.whole[path]), random)

    def mend(self) -> None:
        """Put everything back."""
        for path, data in self.whole.items():
            if not path.is_file() or path.read_bytes() != data:
                path.write_bytes(data)


def main(argv: list[str] | None = None) -> int:
    """Damage and load, and print the figures."""
    arguments = parse(__doc__.splitlines()[0], 1600, 120, argv)
    fresh(arguments.work)
    in_child(lambda: _prepare(arguments.work), arguments.work / "prepare.log")
    targets = list(_targets(arguments.work))
    random = np.random.default_rng(arguments.seed)
    counts, kinds, missed = Counter(), Counter(), []
    for number in range(arguments.count):
        target = targets[number % len(targets)]
        done = target.damage(random)
        counts[target.name] += 1
        kinds[done.split(": ")[1]] += 1
        if not target.noticed():
            missed.append(f"{target.name}: {done}")
        target.mend()
    swapped = _whole_folders(arguments.work, missed)
    clean = max(10, arguments.count * 1000 // 1600)
    refused = [target.name for number in range(clean)
               for target in [targets[number % len(targets)]] if not target.clean()]
    figures = {"injected": arguments.count + swapped, "detected": arguments.count + swapped - len(missed),
               "missed": missed[:5],
               "clean_loads": clean, "clean_loads_refused": len(refused),
               "by_target": {**counts, "a whole checkpoint in another's place": swapped}, "by_kind": dict(kinds)}
    return finish("corruptions", arguments, figures, not missed and not refused,
                  "damaged checkpoints, releases, results and reports noticed")


def _prepare(work: Path) -> None:
    """Train a tiny suite twice (another seed the second time), make its pictures, and release it."""
    suite = write_tiny(work / "networks")
    for place, seed in (("here", 2), ("there", 3)):
        root = work / place
        for run in load_suite(suite, [f"seed={seed}"]).runs():
            adapt.adapt_style(run, root / "runs" / "tiny" / run.folder, stream=io.StringIO())
        assert cli.run_all(["--weights", str(root / "runs/tiny"), "--output", str(root / "results")]) == 0
        assert cli.main(["release", "--runs", str(root / "runs/tiny"), "--output", str(root / "B_weight")]) == 0


def _targets(work: Path) -> Iterator[Target]:
    here, there = work / "here", work / "there"
    run, other = (root / "runs/tiny/00-disney" for root in (here, there))
    for stage in ("mapper", "generator"):
        yield _checkpoint(run / "checkpoints" / stage, stage)
    yield _set("release", here / "B_weight/tiny", there / "B_weight/tiny",
               lambda: cli.verify(["--weights", str(here / "B_weight/tiny"), "--sample", "1"]))
    yield _set("results", here / "results/tiny", there / "results/tiny",
               lambda: cli.verify(["--weights", str(here / "runs/tiny"), "--results", str(here / "results"), "--sample",
                                   "1"]))
    demo = work / "demo-release"
    shutil.copytree(ROOT / "B_weight" / "demo", demo)
    yield _set("released demo suite", demo, here / "B_weight/tiny",
               lambda: cli.verify(["--weights", str(demo), "--sample", "1"]))
    identity = run_identity(load_suite(work / "networks/suite.yaml").runs()[0])
    files = [run / "generator.safetensors", run / "report.json"]
    yield Target("finished run", run, files, other, lambda: adapt._finished(run, identity) is None,
                 lambda: adapt._finished(run, identity) is not None)


def _checkpoint(folder: Path, stage: str) -> Target:
    older, newest = sorted(folder.iterdir())
    step = int(newest.name[-8:])
    store = Checkpoints(folder)

    def noticed() -> bool:
        latest = store.latest()
        return latest is not None and latest.path == older
    return Target(f"checkpoint of the {stage}", newest, sorted(newest.iterdir()), older, noticed,
                  lambda: store.latest().step == step and bool(store.latest().tensors("state")))


def _set(name: str, folder: Path, other: Path, verify: Callable[[], int]) -> Target:
    def code() -> int:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as told:
            result = verify()
        return 99 if result == 3 or "Traceback" in told.getvalue() else result  # ours is no way of noticing
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return Target(name, folder, files, other, lambda: code() in (1, 2), lambda: code() == 0)


def _whole_folders(work: Path, missed: list[str]) -> int:
    """Put whole checkpoints under other names and in other runs; return how many."""
    done = 0
    for stage in ("mapper", "generator"):
        folder = work / "here/runs/tiny/00-disney/checkpoints" / stage
        foreign = work / "there/runs/tiny/00-disney/checkpoints" / stage
        older, newest = sorted(folder.iterdir())
        identity = Checkpoints(folder).latest().state()["identity"]
        later = newest.with_name("checkpoint-00000900")
        for source in (older, newest, foreign / older.name):
            shutil.copytree(source, later)
            done += 1
            if Checkpoints(folder).latest().path != newest:
                missed.append(f"{source} as {later.name}")
            shutil.rmtree(later)
        shutil.copytree(newest, work / "aside")
        shutil.rmtree(newest)
        shutil.copytree(foreign / newest.name, newest)
        done += 1
        if Checkpoints(folder).latest(lambda one: one.state()["identity"] == identity).path != older:
            missed.append(f"another run's {newest}")
        shutil.rmtree(newest)
        shutil.move(work / "aside", newest)
    return done


if __name__ == "__main__":
    raise SystemExit(main())

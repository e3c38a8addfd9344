"""Full disks, size limits, quotas, read-only folders and signals: what was saved stays, one clear line, an exit code.

Each case first trains until a checkpoint exists, then makes the disk refuse, or sends a signal, and looks at four
things: the exit code, one line that says what to do and no traceback, the older checkpoint untouched and verified, and,
after the cause is gone, a resumed run with the bits of an undisturbed one. The other commands (generate, run_all.py,
release, test.py --json, convert) must leave no part of a file and keep what was there. A small tmpfs is mounted when
that is allowed; the other cases need no rights.

    python -m tests.torture.disks
"""
from __future__ import annotations

import errno
import hashlib
import io
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jittor_ipl import cli
from jittor_ipl.adaptation import adapt
from jittor_ipl.config import load_suite
from jittor_ipl.disk.layout import GENERATOR, MAPPER
from jittor_ipl.train import checkpoint
from jittor_ipl.train.checkpoint import Checkpoints
from tests.torture.common import finish, forked, fresh, in_child, parse, waited
from tests.torture.suite import write_tiny

OVERRIDES = ["run.checkpoint_every=2"]
Check = tuple[str, bool, str]  # what was looked at, whether it held, what was seen


class Case:
    """One folder with a run that has saved, and what is found in it after a disturbance."""

    def __init__(self, work: Path, name: str, folder: Path, *settings: str):
        self.work, self.name, self.folder, self.settings = work, name, folder, [*OVERRIDES, *settings]
        self.log = work / f"{name.replace(' ', '-')}.log"
        self.checks: list[Check] = []

    def command(self, *more: str) -> list[str]:
        """Return the arguments of `adapt` for this run."""
        words = [word for setting in self.settings for word in ("--set", setting)]
        return ["adapt", "--config", str(self.work / "networks/suite.yaml"), "--style", "disney", *words,
                "--output", str(self.folder), *more]

    def begin(self) -> None:
        """Train in a child until the first checkpoint of stage 2 is there, then stop it with SIGTERM's courtesy."""
        def stop(step: int) -> bool:
            return step == 2
        in_child(lambda: _until(self.work, self.folder, self.settings, stop), self.log)
        self.before = _hashes(self.folder)
        assert self.before, "nothing was saved"

    def runs(self, prepare: Callable[[], object] = lambda: None, argv: list[str] | None = None, code: int = 2,
             told: str = "") -> None:
        """Run a command in a child after `prepare`, and check its exit code, its last line, and what was saved."""
        self.log.unlink(missing_ok=True)

        def work() -> None:
            prepare()
            raise SystemExit(cli.main(argv or self.command()))
        found = waited(forked(work, self.log))
        self.ended(found, code, told)

    def ended(self, found: int, code: int, told: str) -> None:
        """Check how a command ended and that the older checkpoints are untouched."""
        text = self.log.read_text(errors="replace")
        last = text.strip().splitlines()[-1] if text.strip() else ""
        self.checks.append(("exit code", found == code, f"{found}"))
        if told:
            self.checks.append(("one clear line",
                                last.startswith("error: ") and told in last and "Traceback" not in text, last[:200]))
        after = _hashes(self.folder)
        lost = [name for name, digest in getattr(self, "before", {}).items() if after.get(name) != digest]
        newest = Checkpoints(self.folder / "00-disney/checkpoints/generator").latest()
        self.checks.append(("saved steps kept", not lost or newest is not None and newest.step > 2, f"lost {lost}"))

    def resumes(self, undisturbed: Path) -> None:
        """Check that the run now ends with the undisturbed bits and leaves nothing behind."""
        found = waited(forked(lambda: sys.exit(cli.main(self.command())), self.log))
        same = found == 0 and all((self.folder / "00-disney" / name).read_bytes() == (undisturbed / name).read_bytes()
                                  for name in (MAPPER, GENERATOR))
        self.checks.append(("resumes to the same bits", same, f"exit code {found}: {self.log.read_text()[-200:]}"))
        left = [path.name for path in self.folder.rglob(".*") if ".tmp" in path.name]
        self.checks.append(("nothing left over", not left, str(left)))


def main(argv: list[str] | None = None) -> int:
    """Run every case and print what held."""
    arguments = parse(__doc__.splitlines()[0], 1, 1, argv)
    fresh(arguments.work)
    work = arguments.work
    in_child(lambda: write_tiny(work / "networks"), work / "networks.log")
    undisturbed = work / "undisturbed"
    in_child(lambda: adapt.adapt_style(_run(work), undisturbed, stream=io.StringIO()), work / "undisturbed.log")
    cases: list[Case] = []
    skipped: dict[str, str] = {}
    for make in (_signals, _limits, _read_only, _full_disk):
        if arguments.short and make is _full_disk:
            continue
        for case in make(work, undisturbed, skipped):
            cases.append(case)
            if arguments.short:
                break
    failed = [f"{case.name}: {what}: {seen}" for case in cases for what, held, seen in case.checks if not held]
    figures = {"cases": len(cases), "cases_passed": sum(all(held for _, held, _ in case.checks) for case in cases),
               "checks": sum(len(case.checks) for case in cases), "names": [case.name for case in cases],
               "skipped": skipped, "failed": failed[:8]}
    return finish("disks", arguments, figures, not failed, "full disk, limits, quota, read-only folders, signals")


def _run(work: Path, settings: list[str] = OVERRIDES):
    return load_suite(work / "networks/suite.yaml", settings).run_of("disney")


def _until(work: Path, folder: Path, settings: list[str], stop: Callable[[int], bool]) -> None:
    """Train until stage 2 has done `stop`'s step and saved; used in a child."""
    class Stop(adapt.Stage):
        def after_step(self, step, metrics, state):
            if self.name == "generator" and stop(step):
                os.kill(os.getpid(), signal.SIGTERM)
            return super().after_step(step, metrics, state)
    adapt.Stage = Stop
    try:
        adapt.adapt_style(_run(work, settings), folder / "00-disney", stream=io.StringIO())
    except SystemExit as stopped:
        if stopped.code != 143:
            raise RuntimeError(f"exit code {stopped.code} after SIGTERM") from stopped
    else:
        raise RuntimeError("the run finished too early")


def _hashes(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("checkpoint-*/*")}


def _at_step(number: int, *signals: int, pause: float = 0.0) -> Callable[[], None]:
    """Return what makes this process send itself the signals in step `number` of stage 2."""
    def prepare() -> None:
        class Signalled(adapt.Stage):
            def after_step(self, step, metrics, state):
                if self.name == "generator" and step == number:
                    for one in signals:
                        os.kill(os.getpid(), one)
                        time.sleep(pause)
                return super().after_step(step, metrics, state)
        adapt.Stage = Signalled
    return prepare


def _signals(work: Path, undisturbed: Path, skipped: dict[str, str]) -> Iterator[Case]:
    """SIGTERM and Ctrl-C save the very step; a second Ctrl-C quits at once; a second SIGTERM changes nothing."""
    for name, signals, code, saved in (("SIGTERM", [signal.SIGTERM], 143, 3), ("SIGINT", [signal.SIGINT], 130, 3),
                                       ("SIGTERM twice", [signal.SIGTERM] * 2, 143, 3),
                                       ("SIGINT twice", [signal.SIGINT] * 2, -signal.SIGINT, 2)):
        case = Case(work, name, work / f"signal-{len(name)}-{code}")
        case.begin()
        case.runs(_at_step(3, *signals), code=code)
        newest = Checkpoints(case.folder / "00-disney/checkpoints/generator").latest()
        case.checks.append(("the step was saved" if saved == 3 else "the older step stays", newest.step == saved,
                            str(newest)))
        case.resumes(undisturbed)
        yield case


def _limits(work: Path, undisturbed: Path, skipped: dict[str, str]) -> Iterator[Case]:
    """A limit on file sizes (as root too), and a quota that the test makes up; at every kind of file that a run
    writes.
    """
    case = Case(work, "file size limit", work / "limit")
    case.begin()
    size = max(path.stat().st_size for path in case.folder.rglob("*.safetensors")) // 2
    case.runs(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY)), told="ulimit -f")
    case.resumes(undisturbed)
    yield case
    for number, (what, words) in enumerate((("quota", "Disk quota exceeded"), ("failing disk", "Input/output error"))):
        case = Case(work, what, work / f"injected-{number}")
        case.begin()
        code = errno.EDQUOT if what == "quota" else errno.EIO
        case.runs(lambda: _refuse_flushes(code), told=words)
        case.resumes(undisturbed)
        yield case


def _refuse_flushes(number: int) -> None:
    """Let every flush of a checkpoint's file fail in this process."""
    flush = os.fsync

    def refuse(handle: int) -> None:
        if "checkpoints" in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(number, os.strerror(number))
        flush(handle)
    os.fsync = refuse


def _read_only(work: Path, undisturbed: Path, skipped: dict[str, str]) -> Iterator[Case]:
    """A folder without write permission; root is let through there, so root gets a read-only mount instead."""
    case = Case(work, "read-only folder", work / "read-only")
    case.begin()
    if os.geteuid():
        folder = case.folder / "00-disney"
        folder.chmod(0o500)
        try:
            case.runs(told="make it writable")
        finally:
            folder.chmod(0o700)
    else:
        with _mounted(["mount", "--bind", str(case.folder), str(case.folder)], case.folder) as refused:
            if refused:
                skipped[case.name] = refused
                return
            subprocess.run(["mount", "-o", "remount,bind,ro", str(case.folder)], check=True)
            case.runs(told="read-only")
            for argv in (["generate", "--weights", str(work / "networks/generator.safetensors"), "--seeds", "1",
                          "--outdir",
                          str(case.folder / "out")],
                         ["release", "--runs", str(undisturbed), "--output", str(case.folder)]):
                case.runs(argv=argv, told="read-only")
    case.resumes(undisturbed)
    yield case


def _full_disk(work: Path, undisturbed: Path, skipped: dict[str, str]) -> Iterator[Case]:
    """A small tmpfs: too full before a save, full in the middle of a save, of a log line and of every other command."""
    place = fresh(work / "small")
    with _mounted(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place)], place) as refused:
        if refused:
            skipped["full disk"] = refused
            return
        case = Case(work, "full disk, found before the save", place / "a")
        case.begin()
        _fill(place, leave=4 << 20)
        case.runs(told="MiB free")
        (place / "filler").unlink()
        case.resumes(undisturbed)
        yield case
        case = Case(work, "full disk, in the middle of a save", place / "b")
        case.begin()
        case.runs(lambda: _fill_at_save(place), told="No space left on device; free some space")
        (place / "filler").unlink()
        case.resumes(undisturbed)
        yield case
        case = Case(work, "full disk, at a line of the log", place / "c")
        case.begin()
        case.runs(lambda: _fill_at_log(place), told="No space left on device; free some space")
        (place / "filler").unlink()
        case.resumes(undisturbed)
        yield case
        case = Case(work, "full disk, TensorBoard", place / "e", "run.tensorboard=true")
        case.begin()
        case.runs(lambda: _fill_at_log(place), told="No space left on device; free some space")
        (place / "filler").unlink()
        case.resumes(undisturbed)
        yield case
        yield _other_commands(work, undisturbed, place)


def _other_commands(work: Path, undisturbed: Path, place: Path) -> Case:
    """Full disks under the commands that do not train."""
    case = Case(work, "full disk, other commands", place / "d")
    root = fresh(case.folder)
    weights = str(work / "networks/generator.safetensors")
    commands = {"generate": ["generate", "--weights", weights, "--seeds", "0-3", "--outdir", str(root / "out")],
                "release": ["release", "--runs", str(undisturbed), "--output", str(root / "B_weight")],
                "convert": ["convert", weights, "--to", str(root / "converted")]}
    for name, argv in commands.items():
        assert waited(forked(lambda argv=argv: sys.exit(cli.main(argv)), case.log)) == 0, name
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    commands["convert"][-1] = str(root / "converted-again")
    (root / "converted-again").mkdir()
    _fill(place, leave=0)
    for argv in commands.values():
        case.runs(argv=argv, told="No space left on device")
    build = ["--weights", str(undisturbed), "--output", str(root / "results")]
    case.log.unlink(missing_ok=True)
    case.ended(waited(forked(lambda: sys.exit(cli.run_all(build)), case.log)), 2, "No space left on device")
    (place / "filler").unlink()
    after = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    case.checks.append(("what was there stays, no part of a file more", after == before,
                        str(sorted(set(after) ^ set(before))[:5])))
    return case


def _fill(place: Path, leave: int) -> None:
    """Fill the disk of `place` but for `leave` bytes."""
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize - leave
    with open(place / "filler", "ab", buffering=0) as file:
        while free > 0:
            try:
                free -= file.write(bytes(min(free, 1 << 20)))
            except OSError:
                return


def _fill_at_save(place: Path) -> None:
    """Fill the disk between the look at the free space and the save, but for half of what the save needs."""
    check = checkpoint.check_space

    def filled(folder: Path, needed: int) -> None:
        check(folder, needed)
        _fill(place, leave=needed // 2)
    checkpoint.check_space = filled


def _fill_at_log(place: Path) -> None:
    """Fill the disk in the third step of stage 2, before its line is written; make lines too long for a page's rest."""
    class Filled(adapt.Stage):
        def after_step(self, step, metrics, state):
            if self.name == "generator" and step == 3:
                _fill(place, leave=0)
                metrics = {**metrics, **{f"padding{i}": 0.0 for i in range(500)}}
            return super().after_step(step, metrics, state)
    adapt.Stage = Filled


@contextmanager
def _mounted(command: list[str], place: Path) -> Iterator[str]:
    """Mount, give the reason when that is refused, unmount."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        refused = done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""
    except OSError as error:
        refused = str(error)
    try:
        yield refused
    finally:
        if not refused:
            subprocess.run(["umount", "-l", str(place)], check=True)


if __name__ == "__main__":
    raise SystemExit(main())

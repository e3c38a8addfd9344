"""Checkpoints, the lock, the log and the signals: what a killed, full or doubled run leaves behind."""
from __future__ import annotations

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.disk.atomic import check_space
from jittor_ipl.disk.lock import locked
from jittor_ipl.errors import UserError
from jittor_ipl.jobs.signals import Interrupted, StopOnSignal
from jittor_ipl.train import checkpoint as module
from jittor_ipl.train.checkpoint import Checkpoints, verified
from jittor_ipl.train.log import RunLog, drop_records

ROOT = Path(__file__).resolve().parents[2]


def groups(step: int) -> dict[str, dict[str, np.ndarray]]:
    return {"params": {"a.weight": np.full((3, 4), step, np.float32)}, "adam": {"steps/a": np.int32([step])}}


def save(store: Checkpoints, *steps: int) -> None:
    for step in steps:
        store.save(step, groups(step), {"stage": "generator", "step": step})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_comes_back(tmp_path):
    store = Checkpoints(tmp_path / "checkpoints")
    assert store.latest() is None
    save(store, 5)
    latest = store.latest()
    assert latest.step == 5 and latest.state() == {"stage": "generator", "step": 5}
    assert (latest.tensors("params")["a.weight"] == 5).all() and latest.tensors("adam")["steps/a"].dtype == np.int32


def test_rotation_keeps_the_newest(tmp_path):
    save(Checkpoints(tmp_path, keep=2), 1, 2, 3, 10)
    assert names(tmp_path) == ["checkpoint-00000003", "checkpoint-00000010"]


@pytest.mark.parametrize("damage", ["flip", "truncate", "missing", "extra", "manifest", "manifest not json"])
def test_a_damaged_checkpoint_is_passed_over(tmp_path, damage):
    store = Checkpoints(tmp_path)
    save(store, 1, 2)
    newest = tmp_path / "checkpoint-00000002"
    file = newest / "params.safetensors"
    data = bytearray(file.read_bytes())
    if damage == "flip":
        data[-1] ^= 1
        file.write_bytes(data)
    elif damage == "truncate":
        file.write_bytes(data[:-1])
    elif damage == "missing":
        file.unlink()
    elif damage == "extra":
        (newest / "more.safetensors").write_bytes(b"")
    elif damage == "manifest":
        (newest / "manifest.json").unlink()
    else:
        (newest / "manifest.json").write_text("[1]")
    assert not verified(newest) and store.latest().step == 1
    save(store, 2)
    assert store.latest().step == 2 and len(names(tmp_path)) == 2


def test_saving_below_a_damaged_later_step_removes_that_future(tmp_path):
    store = Checkpoints(tmp_path, keep=3)
    save(store, 1, 9)
    (tmp_path / "checkpoint-00000009" / "state.json").write_text("{}")
    save(store, 5)
    assert names(tmp_path) == ["checkpoint-00000001", "checkpoint-00000005"]


@pytest.mark.parametrize("failing", ["os.rename", "write_json", "write_safetensors"])
def test_a_failure_while_saving_changes_nothing(tmp_path, monkeypatch, failing):
    store = Checkpoints(tmp_path)
    save(store, 1)

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", full) if failing == "os.rename" else patch.setattr(module, failing, full)
        with pytest.raises(UserError, match="No space left on device; free some space"):
            save(store, 2)
    assert names(tmp_path) == ["checkpoint-00000001"] and store.latest().step == 1


def test_leftovers_of_a_killed_process_are_cleaned(tmp_path):
    (tmp_path / ".tmp-7-123").mkdir()
    (tmp_path / ".tmp-7-123" / "params.safetensors").write_bytes(b"half")
    assert Checkpoints(tmp_path).latest() is None
    save(Checkpoints(tmp_path), 8)
    assert names(tmp_path) == ["checkpoint-00000008"]


def test_killed_at_any_moment_the_newest_whole_checkpoint_remains(tmp_path):
    code = ("import sys; from tests.train.test_checkpoint import save, Checkpoints\n"
            "for step in range(1, 10**6): save(Checkpoints(sys.argv[1]), step); print(step, flush=True)")
    for wait in (0.01, 0.04, 0.09, 0.15):
        process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(wait)
        process.kill()
        process.wait()
        process.stdout.close()
    latest = Checkpoints(tmp_path).latest()
    assert latest is not None and (latest.tensors("params")["a.weight"] == latest.step).all()


def test_too_little_space_is_told_before_writing(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with pytest.raises(UserError, match="0 MiB free.*MiB are needed: free some space"):
        save(Checkpoints(tmp_path / "new"), 1)
    with pytest.raises(UserError):
        check_space(tmp_path, 0)
    assert names(tmp_path / "new") == []


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot create the folder"):
        save(Checkpoints(tmp_path / "file" / "checkpoints"), 1)
    with pytest.raises(UserError, match="cannot create the folder"):
        with locked(tmp_path / "file"):
            pass


@pytest.mark.parametrize("number, advice", [(errno.EACCES, "make it writable"), (errno.EROFS, "read-only"),
                                            (errno.ENOSPC, "free some space")])
def test_an_unwritable_folder_is_told(tmp_path, monkeypatch, number, advice):
    def refuse(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))
    monkeypatch.setattr(Path, "mkdir", refuse)  # permissions do not stop root, whom many containers run as
    with pytest.raises(UserError, match=f"cannot create the folder.*{os.strerror(number)}.*{advice}"):
        save(Checkpoints(tmp_path / "new"), 1)


def test_two_processes_cannot_work_in_one_folder(tmp_path):
    code = ("import sys; from jittor_ipl.disk.lock import locked\n"
            "with locked(sys.argv[1]): print('mine', flush=True); sys.stdin.read()")
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    assert other.stdout.readline() == b"mine\n"
    with pytest.raises(UserError, match=rf"another process \({other.pid} on [^)]+\) is working"):
        with locked(tmp_path):
            pass
    other.kill()
    other.communicate()
    with locked(tmp_path):  # the system dropped the dead process's lock
        pass
    with locked(tmp_path):
        pass


def records(folder: Path) -> list[tuple[str, int]]:
    return [(r["stage"], r["step"]) for r in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())]


def write_log(folder: Path, stage: str, start: int, stop: int) -> str:
    stream = io.StringIO()
    with RunLog(folder, stage, total=10, start=start, every=2, tensorboard=False, stream=stream) as log:
        for step in range(start + 1, stop + 1):
            log.step(step, {"loss": 1 / step, "lr": 0.1})
    return stream.getvalue()


def test_the_log_resumes_without_telling_a_step_twice(tmp_path):
    write_log(tmp_path, "mapper", 0, 10)
    write_log(tmp_path, "generator", 0, 7)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"stage": "generator", "st')
    told = write_log(tmp_path, "generator", 4, 9)
    assert records(tmp_path) == [("mapper", s) for s in (2, 4, 6, 8, 10)] + [("generator", s) for s in (2, 4, 6, 8)]
    assert len(told.splitlines()) == 2 and told.startswith("generator 6/10 loss 0.1667 lr 0.1 ")


def test_the_last_step_is_always_logged_and_a_nan_stays_readable(tmp_path):
    with RunLog(tmp_path, "mapper", total=3, every=2, tensorboard=False, stream=io.StringIO()) as log:
        for step in (1, 2, 3):
            log.step(step, {"loss": float("nan")})
    assert records(tmp_path) == [("mapper", 2), ("mapper", 3)]
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])["loss"] is None


def test_a_record_without_its_line_end_does_not_swallow_the_next(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"stage": "mapper", "step": 2}')
    drop_records(tmp_path / "metrics.jsonl", "mapper", 2)
    assert (tmp_path / "metrics.jsonl").read_text().endswith("}\n")


def test_tensorboard_events_are_written(tmp_path):
    with RunLog(tmp_path, "mapper", total=2, every=1, stream=io.StringIO()) as log:
        log.step(1, {"loss": 0.5})
    assert [path.name.startswith("events.out.tfevents") for path in (tmp_path / "tensorboard"
                                                                     / "mapper").iterdir()] == [True]


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_waits_for_the_loop(number, code, capfd):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as stopped:
        with StopOnSignal() as stop:
            stop.raise_if_received()
            signal.raise_signal(number)
            assert stop.received == number
            stop.raise_if_received()
    assert stopped.value.code == code and signal.getsignal(number) is before and "saving" in capfd.readouterr().err


def test_a_signal_after_the_last_step_is_not_forgotten():
    """The run has all it needs, and ends; the next one must not begin."""
    with pytest.raises(Interrupted), StopOnSignal():
        signal.raise_signal(signal.SIGTERM)
    with pytest.raises(KeyError), StopOnSignal():
        signal.raise_signal(signal.SIGTERM)
        raise KeyError("a fault stays one")


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_compiler_that_the_signal_ended_is_the_stop_itself(number, code, capfd):
    """Ctrl-C in a terminal reaches the compiler as well, and Jittor raises for it; without a signal its error stays
    one.
    """
    with pytest.raises(Interrupted) as stopped, StopOnSignal():
        signal.raise_signal(number)
        raise RuntimeError("Error happend during compilation")
    assert stopped.value.code == code and "stopped within a step; the same command goes on" in capfd.readouterr().err
    with pytest.raises(RuntimeError, match="compilation"), StopOnSignal():
        raise RuntimeError("Error happend during compilation")


def test_a_second_ctrl_c_ends_the_process_at_once():
    code = ("import signal\nfrom jittor_ipl.jobs.signals import StopOnSignal\n"
            "with StopOnSignal():\n    signal.raise_signal(signal.SIGINT); signal.raise_signal(signal.SIGINT)\n"
            "print('alive')")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGINT and "alive" not in done.stdout

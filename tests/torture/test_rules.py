"""The rules under which files are written: whole or absent, one writer, records that vouch for themselves."""
from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jittor_ipl.disk import atomic, lock
from jittor_ipl.disk.integrity import read_sealed, write_sealed
from jittor_ipl.disk.lock import locked
from jittor_ipl.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


def test_every_file_is_flushed_before_it_is_renamed_and_its_folder_after(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        def noted(*args, name=name, call=getattr(os, name)):
            target = os.readlink(f"/proc/self/fd/{args[0]}") if name == "fsync" else str(args[1])
            calls.append((name, target))
            return call(*args)
        monkeypatch.setattr(os, name, noted)
    atomic.write_bytes(tmp_path / "new" / "file", b"x")
    temporary = calls[1][1]
    assert temporary.endswith(".tmp") and Path(temporary).parent == tmp_path / "new"
    assert calls == [("fsync", str(tmp_path)), ("fsync", temporary), ("replace", str(tmp_path / "new/file")),
                     ("fsync", str(tmp_path / "new"))]


def test_sweeping_takes_what_the_dead_left_and_leaves_what_the_living_write(tmp_path):
    dead, other = tmp_path / f".{'0' * 16}.tmp", tmp_path / ".mine.tmp"
    dead.write_bytes(b"half")
    other.write_bytes(b"not ours")
    with atomic.staged(tmp_path / "file") as living:
        living.write_bytes(b"whole")
        assert atomic.sweep(tmp_path) == 1 and not dead.exists() and other.exists()
    assert (tmp_path / "file").read_bytes() == b"whole" and atomic.sweep(tmp_path / "nowhere") == 0


@pytest.mark.parametrize("number, told",
                         [(errno.EFBIG, "ulimit -f"), (errno.EDQUOT, "free some space"), (errno.EIO, "failing")])
def test_what_the_disk_refuses_is_one_line_and_keeps_the_old_file(tmp_path, monkeypatch, number, told):
    atomic.write_bytes(tmp_path / "file", b"old")

    def refuse(_):
        raise OSError(number, os.strerror(number))
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UserError, match=told):
        atomic.write_bytes(tmp_path / "file", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_bytes() == b"old"


def folder(path: Path, text: str) -> Path:
    (path / "inner").mkdir(parents=True)
    (path / "inner" / "file").write_text(text)
    return path


@pytest.mark.parametrize("one_step", [True, False])
def test_a_folder_is_replaced(tmp_path, monkeypatch, one_step):
    if not one_step:
        monkeypatch.setattr(atomic, "_exchanged", lambda *_: False)
    target = folder(tmp_path / "target", "old")
    atomic.replace_folder(folder(tmp_path / "new", "new"), target)
    assert (target / "inner/file").read_text() == "new" and [path.name for path in tmp_path.iterdir()] == ["target"]
    atomic.recover_folder(target)
    assert (target / "inner/file").read_text() == "new"


def test_a_replacement_killed_between_its_renames_is_undone(tmp_path, monkeypatch):
    target, new, rename, done = folder(tmp_path / "target", "old"), folder(tmp_path / "new", "new"), os.rename, []

    def killed(*args):
        if done:
            raise KeyboardInterrupt
        done.append(args)
        rename(*args)
    monkeypatch.setattr(atomic, "_exchanged", lambda *_: False)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", killed)
        with pytest.raises(KeyboardInterrupt):
            atomic.replace_folder(new, target)
    assert not target.exists()
    atomic.recover_folder(target)
    assert (target / "inner/file").read_text() == "old"


def test_a_record_notices_every_flipped_bit_and_every_cut(tmp_path):
    path = write_sealed(tmp_path / "record.json", {"name": "Müller", "steps": [1, 2], "share": 0.1, "big": 2**53})
    whole = path.read_bytes()
    assert read_sealed(path, "record") == {"name": "Müller", "steps": [1, 2], "share": 0.1, "big": 2**53}
    damaged = [whole[:i] + bytes([whole[i] ^ 1 << bit]) + whole[i + 1:] for i in range(len(whole)) for bit in range(8)]
    damaged += [whole[:cut] for cut in range(len(whole))] + [whole + b"\n", b" " + whole, whole * 2, b"[1]",
                                                             b'{"sha256": 1e999}']
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(UserError):
            read_sealed(path, "record")


def test_a_record_with_white_space_of_another_editor_is_refused(tmp_path):
    path = write_sealed(tmp_path / "record.json", {"a": 1})
    path.write_text(json.dumps(json.loads(path.read_text())))
    with pytest.raises(UserError, match="damaged or was edited"):
        read_sealed(path, "record")


def test_the_lock_leaves_nothing_and_is_not_kept_by_a_forked_child(tmp_path):
    with locked(tmp_path):
        child = os.fork()
        if not child:
            os._exit(len(lock._locks))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 and (tmp_path / ".lock").exists()
        with pytest.raises(UserError, match=rf"another process \({os.getpid()} on "):
            with locked(tmp_path):
                pass
    assert not list(tmp_path.iterdir())


def test_a_lock_file_that_was_removed_while_waiting_is_not_taken_for_the_lock(tmp_path, monkeypatch):
    flock, seen = fcntl.flock, []

    def removed_first(handle, how):
        if not seen:
            (tmp_path / ".lock").unlink()
        seen.append(handle)
        flock(handle, how)
    monkeypatch.setattr(fcntl, "flock", removed_first)
    with locked(tmp_path):
        assert len(seen) == 2 and (tmp_path / ".lock").exists()


def test_an_import_that_asks_for_a_rerun_is_repeated(tmp_path):
    (tmp_path / "jittor").mkdir()
    (tmp_path / "jittor" / "__init__.py").write_text(
        f"import pathlib, sys\nmark = pathlib.Path({str(tmp_path / 'mark')!r})\nimport jittor.inner\n"
        "if not mark.exists():\n    mark.touch()\n    sys.exit(0)\n")
    (tmp_path / "jittor" / "inner.py").write_text("")
    code = "from jittor_ipl.runtime.bootstrap import _imported; print(_imported().__name__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    assert done.stdout == "jittor\n", done.stderr

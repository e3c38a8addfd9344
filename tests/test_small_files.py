"""The reader of small files: bounds, what is no file, and one line for every mistake."""
from __future__ import annotations

import os
from threading import Thread

import pytest

from jittor_ipl.disk.small_files import read_json, read_lines, read_small
from jittor_ipl.errors import UserError


def test_a_pipe_is_read_where_it_may_be_and_refused_elsewhere(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="a pipe or device"):
        read_small(tmp_path / "pipe", "record", 10)
    Thread(target=(tmp_path / "pipe").write_bytes, args=(b"words",)).start()
    assert read_small(tmp_path / "pipe", "configuration", 10, pipes=True) == b"words"
    with pytest.raises(UserError, match="a pipe or device"):
        read_small("/dev/zero", "configuration", 10, pipes=True)


@pytest.mark.parametrize("data, told", [(b"x" * 1025, "larger than 1 KiB"), (b"[1]", "not a JSON object"),
                                        (b"{", "not JSON"), (b"\xff", "not JSON")])
def test_what_is_no_small_json_object_is_one_line(tmp_path, data, told):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(UserError, match=told) as caught:
        read_json(tmp_path / "a.json", "record", 1024)
    assert "\n" not in str(caught.value) and "a.json" in str(caught.value)


def test_lines_are_those_of_any_system(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfone \r\n two\rthree\n")
    assert read_lines(tmp_path / "list.txt", "list") == ["one", "two", "three"]
    mistakes = (tmp_path / "lists.txt", "did you mean .*list.txt"), (tmp_path, "a folder"), ("a\0b", "null byte")
    for path, told in mistakes:
        with pytest.raises(UserError, match=told):
            read_lines(path, "list")

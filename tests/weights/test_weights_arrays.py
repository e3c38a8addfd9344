"""Arrays without names: .npy files in every form that NumPy writes, damaged ones, and lists of tensors."""
from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.nested import MAX_DEPTH, MAX_ITEMS, numbered
from jittor_ipl.weights.containers.read import read_tensors


def npy(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version, allow_pickle=True)
    return buffer.getvalue()


def read(path: Path, data: bytes) -> np.ndarray:
    path.write_bytes(data)
    tensors, info = read_tensors(path)
    assert info.format == "npy" and list(tensors) == ["tensor"]
    return tensors["tensor"]


@pytest.mark.parametrize("code",
                         ["?", "u1", "i1", "<u2", ">i2", "<i4", ">u4", "<i8", ">u8", "<f2", ">f4", "<f4", "<f8"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_number_type_version_and_order(tmp_path: Path, code: str, version: tuple[int, int]) -> None:
    for array in (np.arange(24).reshape(2, 3, 4), np.asfortranarray(np.arange(6).reshape(2, 3)), np.array(7),
                  np.zeros((0, 3))):
        array = array.astype(code, order="A")
        found = read(tmp_path / "a.npy", npy(array, version))
        assert found.dtype == array.dtype.newbyteorder("=") and found.dtype.isnative
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("array", [np.array({"a": 1}), np.array([None]), np.array(["text"]), np.zeros(2, "M8[s]"),
                                   np.zeros(2, [("x", "f4")]), np.zeros(2, "V3")], ids=lambda a: str(a.dtype))
def test_anything_but_plain_numbers_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(UserError, match="a pickle in disguise|plain numbers"):
        read(tmp_path / "a.npy", npy(array))


def test_every_truncation_is_refused_and_every_flip_refused_or_read_as_numbers(tmp_path: Path) -> None:
    whole = npy(np.arange(3, dtype=np.float32))
    for length in range(len(whole)):
        with pytest.raises(UserError):
            read(tmp_path / "a.npy", whole[:length])
    for position in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[position // 8] ^= 1 << position % 8
        try:
            assert read(tmp_path / "a.npy", bytes(flipped)).nbytes <= len(whole)
        except UserError as error:
            assert "\n" not in str(error)
    with pytest.raises(UserError, match="bytes of numbers"):
        read(tmp_path / "a.npy", whole + b"\0")


@pytest.mark.parametrize("header", ["{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
                                    "{'descr': '<f4', 'fortran_order': 1, 'shape': ()}",
                                    "{'descr': '<f4', 'fortran_order': False, 'shape': (1e9,)}",
                                    "__import__('os').getcwd()",
                                    "{'descr': '<f4', 'fortran_order': False, 'shape': (281474976710655,) * 9}",
                                    "(" * 5000,
                                    "{'descr': '<f4', 'fortran_order': False, 'shape': (2**40,)}", "[1]",
                                    "{'descr': '<f4'}"])
def test_hostile_headers(tmp_path: Path, header: str) -> None:
    with pytest.raises(UserError):
        read(tmp_path / "a.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())


def is_tensor(value: object) -> bool:
    return isinstance(value, np.ndarray)


def test_numbered_names() -> None:
    a = np.zeros(1)
    assert list(dict(numbered(a, is_tensor))) == ["tensor"]
    assert list(dict(numbered([["text", 1], [a, a]], is_tensor))) == ["1.0", "1.1"]
    assert list(dict(numbered({"mean": [a, ("name of Paddle's", a)], 3: [a]}, is_tensor))) == ["mean.0", "mean.1",
                                                                                               "3.0"]
    assert list(dict(numbered(("name of Paddle's", a), is_tensor))) == ["tensor"]


def test_numbered_names_are_bounded() -> None:
    deep: object = np.zeros(1)
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    assert not list(numbered(deep, is_tensor))
    wide: list = [1] * MAX_ITEMS
    assert not list(numbered([wide] * MAX_ITEMS + [np.zeros(1)], is_tensor))
    loop: list = []
    loop += [loop, np.zeros(1)]
    assert len(list(numbered(loop, is_tensor))) <= MAX_DEPTH + 1

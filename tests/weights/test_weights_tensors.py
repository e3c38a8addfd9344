"""safetensors: what the reference library writes is read, what it reads is written, every breach is refused."""
from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors import deserialize
from safetensors.numpy import load_file, save_file
from small_files import small_files

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.read import read_tensors
from jittor_ipl.weights.containers.safetensors import MAX_HEADER_BYTES, read_safetensors, write_safetensors

TENSORS = {"b": np.arange(6, dtype="f4").reshape(2, 3), "a": np.ones(3, "f2"), "double": np.array(2.5),
           "flag": np.array([True]),
           "none": np.zeros((0, 4), "i8"), "bytes": np.arange(5, dtype="u1"),
           "transposed": np.arange(6, dtype="i2").reshape(2, 3).T}


def raw(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(begin: int, end: int, shape: tuple = (1,), dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def assert_same(found: dict, expected: dict) -> None:
    assert set(found) == set(expected)
    for name in expected:
        assert found[name].dtype == expected[name].dtype and found[name].shape == expected[name].shape
        assert found[name].tobytes() == expected[name].tobytes()


def test_agrees_with_the_reference_library(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    write_safetensors(path, TENSORS, {"kind": "test", "name": "名"})
    assert_same(load_file(path), TENSORS)
    assert_same(read_safetensors(path)[0], TENSORS)
    assert read_safetensors(path)[1] == {"kind": "test", "name": "名"}
    save_file({name: np.ascontiguousarray(t) for name, t in TENSORS.items() if t.ndim}, path, {"a": "b"})
    assert_same(read_safetensors(path)[0], {name: t for name, t in TENSORS.items() if t.ndim})


def test_bytes_do_not_depend_on_order(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "1", TENSORS, {"a": "1", "b": "2"})
    write_safetensors(tmp_path / "2", dict(reversed(TENSORS.items())), {"b": "2", "a": "1"})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1", "2"]


def test_bfloat16_is_widened(tmp_path: Path) -> None:
    values = np.array([1.0, -2.5, 3.140625], "f4")
    (tmp_path / "x").write_bytes(raw({"w": entry(0, 6, (3,), "BF16")},
                                     (values.view("u4") >> 16).astype("<u2").tobytes()))
    assert np.array_equal(read_safetensors(tmp_path / "x")[0]["w"], values)


@pytest.mark.parametrize("data", [
    b"", b"1234567", raw({}, length=MAX_HEADER_BYTES + 1), raw({}, length=3), raw(b"[]"), raw(b"{"), raw(b"{\xff}"),
    raw(b" {}"),
    raw(b'{"a":' * 100_000), raw(b'{"a":NaN}'), raw(b'{"a":' + b"9" * 5000 + b"}"), raw({}, b"x"),
    raw({"w": entry(0, 4)}, b"123"), raw({"w": entry(0, 4)}, b"12345"), raw({"w": entry(1, 5)}, b"12345"),
    raw({"a": entry(0, 4), "b": entry(2, 6)}, b"123456"), raw({"a": entry(0, 4), "b": entry(5, 9)}, b"123456789"),
    raw({"w": entry(0, 4, (2,))}, b"1234"), raw({"w": entry(0, 4, (-1,))}, b"1234"), raw({"w": entry(4, 0)}, b"1234"),
    raw({"w": entry(0, 4, (1.0,))}, b"1234"), raw({"w": entry(0, 4, (True,))}, b"1234"),
    raw({"w": entry(0, 0, (2**62, 2**62, 0))}),
    raw({"w": entry(0, 0, (0,) * 40)}), raw({"w": entry(0, 4, (1,), "F128")}, b"1234"),
    raw({"w": entry(0, 4, (1,), 7)}, b"1234"),
    raw({"w": {**entry(0, 4), "more": 1}}, b"1234"), raw({"w": [1]}), raw({"__metadata__": {"a": 1}}),
    raw({"__metadata__": "a"}),
    raw(b'{"w":' + json.dumps(entry(0, 4)).encode() + b',"w":' + json.dumps(entry(0, 4)).encode() + b"}", b"1234"),
    raw(b'{"\\ud800":' + json.dumps(entry(0, 4)).encode() + b"}", b"1234")])
def test_breaches_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="not a valid safetensors file") as caught:
        read_safetensors(tmp_path / "x.safetensors")
    assert "\n" not in str(caught.value) and str(caught.value).count("not a valid") == 1


def test_never_laxer_than_the_reference_library() -> None:
    """Of mutated headers nothing is accepted that the reference library refuses; what both accept has the same shapes.

    It is laxer itself: unknown keys in an entry, a name given twice and space before the header pass there, not here.
    """
    whole, rng, both = small_files()["safetensors"], random.Random(0), 0
    length = int.from_bytes(whole[:8], "little")
    pieces = (b'"', b"{", b"}", b"[", b"]", b",", b":", b" ", b"0", b"1", b"-", b".0", b"e0", b"F16", b"\\u0041",
              b'"x":1,', b"null", b"\n", b"\xc3\xa9")
    for _ in range(4000):
        head = bytearray(whole[8:8 + length])
        for _ in range(rng.choice((1, 1, 2))):
            at, piece = rng.randrange(len(head)), rng.choice((b"", *pieces))
            head[at:at + rng.choice((0, 1, len(piece)))] = piece or bytes([head[at] ^ 1 << rng.randrange(8)])
        data = len(head).to_bytes(8, "little") + head + whole[8 + length:]
        try:
            found = read_tensors(bytes(data))[0].shapes
        except UserError:
            continue
        assert found == {name: tuple(entry["shape"]) for name, entry in deserialize(bytes(data))}
        both += 1
    assert both > 100


def test_truncation_at_every_byte(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "whole", TENSORS)
    whole = (tmp_path / "whole").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(UserError):
            read_safetensors(tmp_path / "cut")


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text(max_size=8).filter(lambda s: s != "__metadata__" and s.isprintable()),
                       hnp.arrays(st.sampled_from(["f4", "f2", "i8", "u1", "?", ">f4"]),
                                  hnp.array_shapes(min_dims=0, min_side=0))))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, tensors: dict) -> None:
    path = tmp_path_factory.mktemp("x") / "x.safetensors"
    write_safetensors(path, tensors)
    found = read_safetensors(path)[0]
    assert set(found) == set(tensors)
    assert all(found[k].shape == tensors[k].shape and found[k].tobytes() == tensors[k].astype(found[k].dtype).tobytes()
               for k in tensors)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_safetensors(path, {"a": np.ones(1)})
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(UserError, match="No space left"):
        write_safetensors(path, {"a": np.zeros(1)})
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["x"]

"""Whatever the bytes: UserError or the true tensors, never a run command, another exception, or much memory."""
from __future__ import annotations

import resource
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.weights.load import read_tensors
from jittor_ipl.weights.pickle_reader import UnsafeWeightsError

import hostile_pickles as hostile

DATA = Path(__file__).parent / "data"


@pytest.fixture(autouse=True)
def nothing_runs():
    hostile.CANARY.unlink(missing_ok=True)
    yield
    assert not hostile.CANARY.exists(), "a payload was executed"


def outcome(path: Path) -> dict[str, np.ndarray] | str:
    """Return the tensors, or the class of the error; errors other than UserError pass through and fail the test."""
    try:
        return read_tensors(path)[0]
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 600
        return type(error).__name__


@pytest.mark.parametrize("name, body", hostile.payloads().items(), ids=list(hostile.payloads()))
def test_hostile_pickles_are_refused(tmp_path: Path, name: str, body: bytes) -> None:
    for container, data in hostile.containers(body).items():
        if len(body) > 50_000 and container != "plain":
            continue    # slow ones: once is enough, the machine is the same
        path = tmp_path / f"{container}.pt"
        path.write_bytes(data)
        assert isinstance(outcome(path), str), f"{name} in {container} was accepted"


@pytest.mark.parametrize("module, name", [("os", "system"), ("builtins", "eval"), ("torch.hub", "load")])
def test_the_offending_global_is_named(tmp_path: Path, module: str, name: str) -> None:
    for stack_global in (False, True):
        body = hostile.call(module, name, hostile.text("x"), stack_global)
        for container, data in hostile.containers(body).items():
            (tmp_path / container).write_bytes(data)
            with pytest.raises(UnsafeWeightsError, match=f"{module}.{name}"):
                read_tensors(tmp_path / container)


@pytest.mark.parametrize("name", ["tiny", "tiny_legacy"])
def test_truncation_at_every_byte(tmp_path: Path, name: str) -> None:
    whole, path = (DATA / f"{name}.pt").read_bytes(), tmp_path / "cut.pt"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert isinstance(outcome(path), str), f"{name} cut at {length} of {len(whole)} was accepted"


@pytest.mark.parametrize("name", ["tiny", "tiny_legacy"])
def test_a_flipped_bit_in_every_byte(tmp_path: Path, name: str) -> None:
    """The zip format has checksums: an error or the true tensors. The legacy format has none: nothing worse than UserError."""
    whole, path = bytearray((DATA / f"{name}.pt").read_bytes()), tmp_path / "flipped.pt"
    expected = dict(np.load(DATA / f"{name}.npz"))
    for position in (8 * byte + byte % 8 for byte in range(len(whole))):
        whole[position // 8] ^= 1 << position % 8
        path.write_bytes(whole)
        found = outcome(path)
        whole[position // 8] ^= 1 << position % 8
        if name == "tiny" and not isinstance(found, str):
            assert set(found) == set(expected) and all(np.array_equal(found[k], expected[k]) for k in expected), position


def storage_id(count: int, key: str = "0") -> bytes:
    return (b"(" + hostile.text("storage") + b"ctorch\nFloatStorage\n" + hostile.text(key) + hostile.text("cpu")
            + b"J" + struct.pack("<i", count) + b"tQ")


def tensor(count: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", v) for v in values) + b"t"
    return (b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage_id(count) + numbers((offset,))[1:-1] + numbers(shape)
            + numbers(strides) + b"\x89NtR")


@pytest.mark.parametrize("arguments, fits", [
    ((2, 0, (2,), (1,)), True), ((2, 1, (1,), (1,)), True), ((2, 0, (2, 3), (1, 0)), True), ((2, 5, (0, 2), (1, 1)), True),
    ((2, 1, (2,), (1,)), False), ((2, 0, (3,), (1,)), False), ((2, 0, (2,), (2,)), False), ((2, -1, (1,), (1,)), False),
    ((2, 0, (-1,), (1,)), False), ((2, 1, (2,), (-1,)), False), ((2, 2**62, (1,), (1,)), False), ((3, 0, (2,), (1,)), False),
    ((2, 0, (2,), (2**62,)), False), ((2, 0, (2**40,), (0,)), False), ((2, 0, (2**32, 2**32), (0, 0)), False),
    ((2, 0, (1,) * 40, (1,) * 40), False), ((2, 0, (2,), (1, 1)), False), ((2**30, 0, (2,), (1,)), False)])
def test_tensor_bounds(tmp_path: Path, arguments: tuple, fits: bool) -> None:
    body = b"\x80\x02}" + hostile.text("w") + tensor(*arguments) + b"s."
    path = tmp_path / "x.pt"
    path.write_bytes(hostile.archive({"data.pkl": body, "data/0": np.array([1, 2], "<f4").tobytes()}))
    assert isinstance(outcome(path), dict) == fits


def test_many_views_cannot_inflate_a_file(tmp_path: Path) -> None:
    count = 1 << 18
    entries = b"".join(hostile.text(f"w{i}") + tensor(count, 0, (count,), (1,)) for i in range(300))
    path = tmp_path / "x.pt"
    path.write_bytes(hostile.archive({"data.pkl": b"\x80\x02}(" + entries + b"u.", "data/0": bytes(4 * count)}))
    with pytest.raises(UnsafeWeightsError, match="many times the size"):
        read_tensors(path)


PICKLE = b"\x80\x02}" + hostile.text("w") + tensor(2, 0, (2,), (1,)) + b"s."
GOOD = {"data.pkl": PICKLE, "data/0": bytes(8)}


def test_zip_tricks(tmp_path: Path) -> None:
    honest = hostile.archive(GOOD)
    with pytest.warns(UserWarning, match="Duplicate"):
        twice = tmp_path / "twice.zip"
        with zipfile.ZipFile(twice, "w") as file:
            for name in ("data.pkl", "data/0", "data/0"):
                file.writestr(f"archive/{name}", GOOD[name])
    cases = {
        "compressed": hostile.archive(GOOD, zipfile.ZIP_DEFLATED), "duplicate": twice.read_bytes(),
        "prefix": honest[:4] + bytes(60) + honest, "trailing": honest + b"more", "comment": honest[:-2] + b"\x02\x00ab",
        "bomb": hostile.archive({**GOOD, "data/0": bytes(50_000_000)}, zipfile.ZIP_DEFLATED),
        "no pickle": hostile.archive({"data/0": bytes(8)}), "no storage": hostile.archive({"data.pkl": PICKLE}),
        "short storage": hostile.archive({**GOOD, "data/0": bytes(7)}), "long storage": hostile.archive({**GOOD, "data/0": bytes(9)}),
        "byte order": hostile.archive({**GOOD, "byteorder": b"middle"}),
        "encrypted": honest.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"),
        "after STOP": hostile.archive({**GOOD, "data.pkl": PICKLE + b"N."}), "checksum": honest.replace(bytes(8), b"\x01" + bytes(7), 1),
    }
    path = tmp_path / "x.pt"
    path.write_bytes(honest)
    assert isinstance(outcome(path), dict)
    for name, data in cases.items():
        path.write_bytes(data)
        assert isinstance(outcome(path), str), f"{name} was accepted"


def test_memory_stays_bounded(tmp_path: Path) -> None:
    """The peak of this process grows by less than 400 MB over the greediest pickles."""
    greedy = {"dictionaries": b"(" + b"}" * 990_000 + b"t", "sets": b"(" + b"\x8f" * 3_000_000 + b"t",
              "claims": b"}" + b"X\xff\xff\xff\x7f", "memo": b"Nr\xff\xff\xff\x7f"}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, body in greedy.items():
        (tmp_path / name).write_bytes(b"\x80\x04" + body + b".")
        assert isinstance(outcome(tmp_path / name), str)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000

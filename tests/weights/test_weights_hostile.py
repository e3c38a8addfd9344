"""Whatever the bytes: UserError or the true tensors, never a run command, another exception, or much memory or time."""
from __future__ import annotations

import pickle
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import hostile_arrays
import hostile_pickles as hostile
import numpy as np
import pytest
from small_files import nested_pickle

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.limits import UnsafeWeightsError
from jittor_ipl.weights.containers.read import read_tensors

PAYLOADS = hostile.payloads()
LONGEST = 5.0       # processor seconds for one payload; the slowest takes a quarter of one


@pytest.fixture(autouse=True)
def nothing_runs():
    hostile.CANARY.unlink(missing_ok=True)
    yield
    assert not hostile.CANARY.exists(), "a payload was executed"


def outcome(origin: Path | bytes) -> dict[str, np.ndarray] | str:
    """Return the tensors, or the class of the error; errors other than UserError pass through and fail the test."""
    try:
        return dict(read_tensors(origin)[0])
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 1500
        return type(error).__name__


def assert_refused(corpus: dict[str, bytes]) -> None:
    assert len(corpus) >= 60
    for name, data in corpus.items():
        began = time.process_time()
        assert isinstance(outcome(data), str), f"{name} was accepted"
        assert time.process_time() - began < LONGEST, name


@pytest.mark.parametrize("container", hostile.CONTAINERS)
def test_hostile_pickles_are_refused(container: str) -> None:
    assert_refused({name: hostile.containers(body, container) for name, body in PAYLOADS.items()})


@pytest.mark.parametrize("corpus",
                         [hostile_arrays.hostile_npy, hostile_arrays.hostile_npz, hostile_arrays.hostile_safetensors])
def test_hostile_arrays_are_refused(corpus) -> None:
    assert_refused(corpus())


@pytest.mark.parametrize("module, name", [("os", "system"), ("builtins", "eval"), ("torch.hub", "load")])
def test_the_offending_global_is_named(module: str, name: str) -> None:
    for stack_global in (False, True):
        body = hostile.call(module, name, hostile.text("x"), stack_global)
        for data in hostile.containers(body).values():
            with pytest.raises(UnsafeWeightsError, match=f"{module}.{name}") as caught:
                read_tensors(data)
            assert caught.value.offending == (f"{module}.{name}",)


def test_all_unknown_names_are_listed_with_what_to_do() -> None:
    body = b"}" + hostile.text("callbacks") + b"clightning.callbacks\nEarlyStopping\n)\x81}b" + b"s" + hostile.text(
        "x") + b"cmy.optim\nRanger\n)Rs"
    for data in hostile.containers(body).values():
        with pytest.raises(UnsafeWeightsError, match="save only the tensors") as caught:
            read_tensors(data)
        assert caught.value.offending == ("lightning.callbacks.EarlyStopping", "my.optim.Ranger")
    with pytest.raises(UnsafeWeightsError, match=r"state_dict\(\)"):
        read_tensors(hostile.containers(b"ctorch.nn.modules.container\nSequential\n)\x81}b", "zip"))
    with pytest.raises(UserError, match=r"state_dict\(\)"):        # in a plain pickle NVIDIA's networks have such parts
        read_tensors(hostile.containers(b"ctorch.nn.modules.container\nSequential\n)\x81}b", "plain"))


@pytest.mark.parametrize("levels, fits", [(1, True), (2, True), (3, True), (4, False), (60, False)])
def test_streams_nest_a_few_levels_only(levels: int, fits: bool) -> None:
    stream = hostile.legacy_stream(b"}" + hostile.text("a") + b"K\x01s")
    with pytest.raises(UserError, match="no tensors" if fits else "without end"):
        read_tensors(hostile.nested(stream, levels))


def test_tensors_of_plain_pickles() -> None:
    assert read_tensors(nested_pickle())[0]["w"].tolist() == [1.5, -2]


def storage_id(count: int, key: str = "0") -> bytes:
    return (b"(" + hostile.text("storage") + b"ctorch\nFloatStorage\n" + hostile.text(key) + hostile.text("cpu")
            + b"J" + struct.pack("<i", count) + b"tQ")


def tensor(count: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", v) for v in values) + b"t"
    return (b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage_id(count) + numbers((offset,))[1:-1] + numbers(shape)
            + numbers(strides) + b"\x89NtR")


@pytest.mark.parametrize("arguments, fits", [
    ((2, 0, (2,), (1,)), True), ((2, 1, (1,), (1,)), True), ((2, 0, (2, 3), (1, 0)), True),
    ((2, 5, (0, 2), (1, 1)), True),
    ((2, 1, (2,), (1,)), False), ((2, 0, (3,), (1,)), False), ((2, 0, (2,), (2,)), False), ((2, -1, (1,), (1,)), False),
    ((2, 0, (-1,), (1,)), False), ((2, 1, (2,), (-1,)), False), ((2, 2**62, (1,), (1,)), False),
    ((3, 0, (2,), (1,)), False),
    ((2, 0, (2,), (2**62,)), False), ((2, 0, (2**40,), (0,)), False), ((2, 0, (2**32, 2**32), (0, 0)), False),
    ((2, 0, (1,) * 40, (1,) * 40), False), ((2, 0, (2,), (1, 1)), False), ((2**30, 0, (2,), (1,)), False)])
def test_tensor_bounds(arguments: tuple, fits: bool) -> None:
    body = b"\x80\x02}" + hostile.text("w") + tensor(*arguments) + b"s."
    assert isinstance(outcome(hostile.archive({"data.pkl": body, "data/0": np.array([1, 2], "<f4").tobytes()})),
                      dict) == fits


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
        "short storage": hostile.archive({**GOOD, "data/0": bytes(7)}),
        "long storage": hostile.archive({**GOOD, "data/0": bytes(9)}),
        "byte order": hostile.archive({**GOOD, "byteorder": b"middle"}),
        "encrypted": honest.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"),
        "after STOP": hostile.archive({**GOOD, "data.pkl": PICKLE + b"N."}),
        "checksum": honest.replace(bytes(8), b"\x01" + bytes(7), 1),
    }
    assert isinstance(outcome(honest), dict)
    for name, data in cases.items():
        assert isinstance(outcome(data), str), f"{name} was accepted"


MIB = 1 << 20
GREEDY = {
    "dictionaries": b"(" + b"}" * 24 * MIB + b"t", "sets": b"(" + b"\x8f" * 24 * MIB + b"t", "marks": b"(" * 24 * MIB,
    "slots": b"N" + b"\x94" * 24 * MIB,
    "integers": b"(" + b"J\x7f\x7f\x7f\x7f" * 5 * MIB + b"t", "wide letters": b"("
    + (b"X\xff\x0f\x00\x00" + b"a" * 4091 + "\U0001f600".encode()) * 6000 + b"t",
    "small dictionaries": b"(" + b"}K\x01Ns" * 5 * MIB + b"t", "objects": b"cargparse\nNamespace\nq\x00"
    + b"h\x00)\x81" * 6 * MIB,
    "names": b"".join(b"cos\na%d\n" % n for n in range(2 * MIB)), "copies": b"](" + b"N" * 400_000 + b"e"
    + b"cbuiltins\nset\nq\x01" + b"h\x01h\x00\x85R" * 2 * MIB}
GREEDY_FILES = {
    "safetensors lists": hostile_arrays.safetensors(b'{"w":[' + b"[]," * 8 * MIB + b"1]}"),
    "safetensors metadata": hostile_arrays.safetensors(b'{"__metadata__":{'
                                                       + b",".join(b'"%d":""' % n for n in range(2 * MIB)) + b"}}"),
    "safetensors entries": hostile_arrays.safetensors(
        b"{" + b",".join(b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}' % n for n in range(400_000)) + b"}"),
    "safetensors escapes": hostile_arrays.safetensors(b'{"' + b"\\ud83d\\ude00" + b"x" * 24 * MIB + b'":1}')}
MEASURE = """
import resource, sys
from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.read import read_tensors
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    tensors = dict(read_tensors(sys.argv[1])[0])
except UserError:
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def growth(path: Path) -> float:
    """Return by how many bytes a fresh process grows at most while it reads a file and all its tensors."""
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    return int(done.stdout) * 1024


@pytest.mark.parametrize("name", [*GREEDY, *GREEDY_FILES])
def test_memory_stays_below_three_times_the_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "greedy"
    path.write_bytes(GREEDY_FILES.get(name) or b"\x80\x04" + GREEDY[name] + b".")
    assert growth(path) < 3 * path.stat().st_size


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_honest_pickles_stay_below_three_times_the_file(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "honest.pkl"
    path.write_bytes(pickle.dumps({str(n): np.random.RandomState(n).randn(250_000).astype("f4")
                                   for n in range(16 if protocol else 4)}, protocol))
    assert growth(path) < 3 * path.stat().st_size

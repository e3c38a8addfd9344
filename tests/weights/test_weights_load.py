"""Files written by PyTorch, Jittor and NumPy come back bit for bit, and foreign files are called by their name."""
from __future__ import annotations

import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import hostile_pickles as hostile
import numpy as np
import pytest
from small_files import small_files

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.limits import UnsafeWeightsError
from jittor_ipl.weights.containers.read import read_tensors
from jittor_ipl.weights.containers.torch_file import LEGACY_MAGIC

DATA = Path(__file__).parent / "data"
ARRAYS = {"a": np.arange(6, dtype="f4").reshape(2, 3), "fortran": np.asfortranarray(np.arange(6.0).reshape(3, 2)),
          "half": np.ones(3, "f2"), "long": np.arange(4), "flag": np.array([True, False]),
          "scalar": np.array(2.5, "f4"),
          "empty": np.zeros((0, 2), "f4"), "big endian": np.arange(3, dtype=">f4"), "number": np.float32(3)}


def assert_equal(found: dict[str, np.ndarray], expected) -> None:
    assert set(found) == set(expected)
    for name in expected:
        assert found[name].shape == expected[name].shape, name
        assert found[name].dtype == expected[name].dtype.newbyteorder("="), name
        assert found[name].tobytes() == expected[name].astype(found[name].dtype).tobytes(), name


@pytest.mark.parametrize("name, format", [
    ("zip", "torch-zip"), ("legacy", "torch-legacy"), ("rosinality", "torch-zip"),
    ("rosinality_legacy", "torch-legacy"),
    ("mapper", "torch-zip"), ("torchscript", "torchscript"), ("tiny", "torch-zip"), ("tiny_legacy", "torch-legacy")])
def test_agrees_with_pytorch(name: str, format: str) -> None:
    tensors, info = read_tensors(DATA / f"{name}.pt")
    found = {**tensors, **info.extras}
    expected = dict(np.load(DATA / f"{name}.npz"))
    if format == "torchscript":     # attributes that are tensors but no parameters come along
        found = {key: value for key, value in found.items() if key in expected}
    assert info.format == format
    assert_equal(found, expected)


def test_containers_are_unwrapped() -> None:
    tensors, info = read_tensors(DATA / "rosinality.pt")
    assert info.container == "g_ema" and "0.weight" in tensors
    assert set(info.extras) == {"latent_avg"} and set(info.skipped) == {"g", "g_optim", "args", "ada_aug_p"}
    assert read_tensors(DATA / "rosinality.pt", place="g")[1].container == "g"
    assert read_tensors(DATA / "mapper.pt")[1].container == "m"
    with pytest.raises(UserError, match="did you mean 'g_ema'"):
        read_tensors(DATA / "rosinality.pt", place="gema")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_pickles(tmp_path: Path, protocol: int) -> None:
    (tmp_path / "clip.pkl").write_bytes(pickle.dumps(ARRAYS, protocol))
    tensors, info = read_tensors(tmp_path / "clip.pkl")
    assert info.format == "pickle"
    assert_equal(tensors, ARRAYS)


def test_numpy_2_names(tmp_path: Path) -> None:
    renamed = pickle.dumps(ARRAYS, 2).replace(b"numpy.core.", b"numpy._core.")
    (tmp_path / "new.pkl").write_bytes(renamed)
    assert_equal(read_tensors(tmp_path / "new.pkl")[0], ARRAYS)


def with_jittor_trailer(data: bytes) -> bytes:
    return data + hashlib.sha1(data).digest() + b"HCAJSLHD"


def test_jittor_pickles(tmp_path: Path) -> None:
    path = tmp_path / "net.pkl"
    path.write_bytes(with_jittor_trailer(pickle.dumps(ARRAYS, 4)))
    tensors, info = read_tensors(path)
    assert info.format == "jittor-pickle"
    assert_equal(tensors, ARRAYS)
    path.write_bytes(path.read_bytes().replace(b"half", b"hulf"))
    with pytest.raises(UnsafeWeightsError, match="checksum"):
        read_tensors(path)


def test_jittor_itself_agrees(tmp_path: Path) -> None:
    from jittor_ipl.runtime.backend import jt
    path = tmp_path / "net.pkl"
    jt.save({"var": jt.array(ARRAYS["a"]), "array": ARRAYS["half"]}, str(path))
    assert_equal(read_tensors(path)[0], {"var": ARRAYS["a"], "array": ARRAYS["half"]})


def test_big_endian_archive(tmp_path: Path) -> None:
    import zipfile
    with zipfile.ZipFile(DATA / "tiny.pt") as old, zipfile.ZipFile(tmp_path / "big.pt", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("data/0"):
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            new.writestr(name, b"big" if name.endswith("byteorder") else data)
    assert_equal(read_tensors(tmp_path / "big.pt")[0], dict(np.load(DATA / "tiny.npz")))


@pytest.mark.parametrize("content, description", [
    (b"", "an empty file"), (b"\x89PNG\r\n\x1a\n....", "a PNG picture"), (b"\xff\xd8\xff\xe0....", "a JPEG picture"),
    (b"  <!DOCTYPE html><html>", "a web page"),
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
    (b'{"a": 1}', "a JSON text"), (b"hello\n", "a text file"), (b"\x1f\x8b\x08", "a gzip archive"),
    (bytes(range(128, 256)), "unknown format"), (b"storages" + bytes(249) + b"ustar" + bytes(300), "PyTorch before"),
    (b"PK\x05\x06" + bytes(18), "empty or split zip")])
def test_foreign_files_are_named(tmp_path: Path, content: bytes, description: str) -> None:
    path = tmp_path / "generator.pt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=description) as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


def test_folders_pipes_and_missing_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("", "pipe", "missing"):
        with pytest.raises(UserError):
            read_tensors(tmp_path / name)


STORAGES = {"FloatStorage": "f4", "HalfStorage": "f2", "DoubleStorage": "f8", "LongStorage": "i8", "IntStorage": "i4",
            "ShortStorage": "i2",
            "CharStorage": "i1", "ByteStorage": "u1", "ComplexFloatStorage": "c8", "ComplexDoubleStorage": "c16"}


def tensor_code(kind: str, numel: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0,
                key: str = "0") -> bytes:
    """Pickle code of a tensor over a storage of an archive."""
    def number(value: int) -> bytes:
        return b"\x8a\x08" + value.to_bytes(8, "little")
    storage = b"(" + hostile.text("storage") + f"ctorch\n{kind}\n".encode() + hostile.text(key) + hostile.text(
        "cpu") + number(numel) + b"tQ"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + b"(" + b"".join(
        map(number, shape)) + b"t(" \
        + b"".join(map(number, strides)) + b"t\x89NtR"


def archive(tensors: dict[str, bytes], storages: dict[str, bytes], order: bytes = b"little") -> bytes:
    body = b"\x80\x02}(" + b"".join(hostile.text(name) + code for name, code in tensors.items()) + b"u."
    return hostile.archive({"data.pkl": body, "byteorder": order,
                            **{f"data/{key}": data for key, data in storages.items()}})


@pytest.mark.parametrize("kind, code", STORAGES.items())
@pytest.mark.parametrize("order", ["<", ">"])
def test_number_types_and_byte_orders(kind: str, code: str, order: str) -> None:
    values = np.arange(6).astype(order + code)
    data = archive({"w": tensor_code(kind, 6, (3, 2), (1, 3))}, {"0": values.tobytes()}, b"little" if order == "<"
                   else b"big")
    assert_equal(read_tensors(data)[0], {"w": values.reshape(2, 3).T})


@pytest.mark.parametrize("strides", [(2, 1), (1, 2)])
def test_bfloat16_and_booleans_in_any_layout(strides: tuple[int, int]) -> None:
    values = np.array([1, -2.5, 3.140625, 0], "f4")
    tensors, info = read_tensors(archive({"w": tensor_code("BFloat16Storage", 4, (2, 2), strides),
                                          "b": tensor_code("BoolStorage", 4, (2, 2), strides, key="1")},
                                         {"0": (values.view("u4") >> 16).astype("<u2").tobytes(),
                                          "1": bytes([1, 0, 1, 2])}))
    order = "C" if strides == (2, 1) else "F"
    assert_equal(tensors, {"w": values.reshape(2, 2, order=order),
                           "b": np.array([True, False, True, True]).reshape(2, 2, order=order)})
    assert tensors.stored == {"w": "bfloat16", "b": "bool"}


def test_shared_storages_stay_shared() -> None:
    whole, half = tensor_code("FloatStorage", 8, (8,), (1,)), tensor_code("FloatStorage", 8, (4,), (1,), offset=4)
    for kind, item in (("FloatStorage", 4), ("BFloat16Storage", 2)):
        data = archive({name: code.replace(b"FloatStorage", kind.encode())
                        for name, code in (("a", whole), ("b", whole), ("c", half))}, {"0": bytes(8 * item)})
        tensors = dict(read_tensors(data)[0])
        assert tensors["a"] is tensors["b"] and np.shares_memory(tensors["a"], tensors["c"])
        assert not tensors["a"].flags.writeable


def test_checkpoints_with_options() -> None:
    path = b"cpathlib\nPosixPath\n(" + hostile.text("/data") + b"tR"
    options = b"cargparse\nNamespace\n)\x81}(" + hostile.text("encoder_type") + hostile.text(
        "GradualStyleEncoder") + hostile.text("lr") + b"G?\xf0\x00\x00\x00\x00\x00\x00" \
        + hostile.text("exp_dir") + path + hostile.text("device") + b"ctorch\ndevice\n" + hostile.text(
            "cuda") + b"K\x00\x86R" + b"ub"
    counts = b"ccollections\ndefaultdict\nc__builtin__\nint\n\x85R"
    body = b"\x80\x02}(" + hostile.text("state_dict") + b"}" + hostile.text("w") + tensor_code("FloatStorage", 2, (2,),
                                                                                               (1,)) + b"s" \
        + hostile.text("opts") + options + hostile.text("size") + b"ctorch\nSize\n(K\x02K\x03t\x85R" + hostile.text(
            "counts") + counts + b"u."
    tensors, info = read_tensors(hostile.archive({"data.pkl": body, "data/0": bytes(8)}))
    assert list(tensors) == ["w"] and info.container == "state_dict" and set(info.skipped) == {"opts", "size", "counts"}
    assert info.values == {"encoder_type": "GradualStyleEncoder", "lr": 1.0, "device": "cuda:0"}


@pytest.mark.parametrize("code, what", [
    (b"ctorch._utils\n_rebuild_qtensor\n)R", "quantised"), (b"ctorch._utils\n_rebuild_sparse_tensor\n)R", "sparse"),
    (b"ctorch._utils\n_rebuild_meta_tensor_no_storage\n)R", "meta"),
    (tensor_code("QInt8Storage", 2, (2,), (1,)), "QInt8Storage")])
def test_other_tensors_are_refused_by_name(code: bytes, what: str) -> None:
    with pytest.raises(UnsafeWeightsError, match=what):
        read_tensors(archive({"w": code}, {"0": bytes(8)}))


def _with_metadata(metadata: bytes, version: int = 2) -> bytes:
    code = tensor_code("FloatStorage", 2, (2,), (1,))[:-2]
    code = code if version == 2 else code.replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v3") + b"ctorch\nfloat32\n"
    return archive({"w": code + metadata + b"tR"}, {"0": np.array([1, 2], "<f4").tobytes()})


@pytest.mark.parametrize("version", [2, 3])
def test_metadata_that_change_the_numbers_are_refused_by_name(version: int) -> None:
    """PyTorch's negation and conjugation bits lie beside the storage; who passes them over gets other numbers."""
    for name, told in (("neg", "stored negated; .*resolve_neg"), ("conj", "stored conjugated; .*resolve_conj"),
                       ("odd", "the metadata 'odd'")):
        with pytest.raises(UnsafeWeightsError, match=told):
            read_tensors(_with_metadata(b"}" + hostile.text(name) + b"\x88s", version))
    for harmless in (b"N", b"}"):
        assert read_tensors(_with_metadata(harmless, version))[0]["w"].tolist() == [1, 2]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_legacy_streams_of_every_protocol(protocol: int) -> None:
    data = (DATA / "legacy.pt").read_bytes().removeprefix(b"\x80\x02" + LEGACY_MAGIC)
    tensors, info = read_tensors(pickle.dumps(0x1950a86a20f9469cfc6c, protocol) + data)
    assert info.format == "torch-legacy"
    assert_equal({**tensors, **info.extras}, dict(np.load(DATA / "legacy.npz")))


def test_paddle() -> None:
    tensors, info = read_tensors(small_files()["pdparams"])
    assert info.format == "pickle" and not info.skipped
    assert_equal(tensors, {"fc.weight": ARRAYS["a"] / 7, "plain": np.array([3, -1]),
                           "big": np.array([[0, 0], [0, 0], [1, 1]], "f4")})
    for protocol in (2, 3, 4):
        state = {"big@@.0": np.zeros(4, "f4"),
                 "UnpackBigParamInfor@@": {"big": {"OriginShape": (3, 2), "slices": ["big@@.0", "big@@.1"]}}}
        with pytest.raises(UnsafeWeightsError, match="slice of big"):
            read_tensors(pickle.dumps(state, protocol))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path: Path, save) -> None:
    arrays = {name: array for name, array in ARRAYS.items() if name != "number"}
    save(tmp_path / "x.npz", names=np.array(["left out"]), **arrays)
    tensors, info = read_tensors(tmp_path / "x.npz")
    assert info.format == "npz" and info.skipped == ("names",)
    assert_equal(tensors, arrays)


def test_every_source_gives_the_same(tmp_path: Path) -> None:
    for name, data in small_files().items():
        (tmp_path / name).write_bytes(data)
        with open(tmp_path / name, "rb") as file:
            found = [dict(read_tensors(origin)[0]) for origin in (tmp_path / name, str(tmp_path / name), data,
                                                                  bytearray(data), memoryview(data), file)]
        for other in found[1:]:
            assert_equal(other, found[0])


def test_names_and_shapes_are_known_without_reading(tmp_path: Path) -> None:
    for name, data in small_files().items():
        (tmp_path / name).write_bytes(data)
        tensors, info = read_tensors(tmp_path / name)
        shapes, dtypes = tensors.shapes, tensors.stored
        assert {key: (array.shape, array.dtype.name)
                for key, array in tensors.items()} == {key: (shapes[key], dtypes[key]) for key in shapes}


def test_a_file_replaced_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(archive({"w": tensor_code("FloatStorage", 2, (2,), (1,))},
                             {"0": np.array([1, 2], "<f4").tobytes()}))
    tensors, _ = read_tensors(path)
    (tmp_path / "new").write_bytes(b"another file")
    os.replace(tmp_path / "new", path)
    assert tensors["w"].tolist() == [1, 2]


def test_a_file_cut_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "y.pt"
    path.write_bytes((DATA / "tiny.pt").read_bytes())
    tensors, _ = read_tensors(path)
    os.truncate(path, 100)
    with pytest.raises(UserError, match="y.pt: tensor .* shorter"):
        dict(tensors)


BIG = """
import resource, sys
from jittor_ipl.weights.containers.read import read_tensors
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tensors, info = read_tensors(sys.argv[1])
total = 0.0
for name in tensors:
    array = tensors[name]
    total += float(array.reshape(-1)[0])
    del array
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, total)
"""
COUNT, NUMEL = 25, 1 << 20      # 25 tensors of a million numbers: 100 MiB in float32


def _big(kind: str, path: Path) -> None:
    storage, item = ("BFloat16Storage", 2) if "bfloat16" in kind else ("FloatStorage", 4)
    raw = (b"\x80\x3f" if item == 2 else b"\0\0\x80\x3f") * NUMEL
    codes = {f"w{n}": tensor_code(storage, NUMEL, (1024, 1024), (1024, 1), key=str(n)) for n in range(COUNT)}
    if kind.startswith("zip"):
        path.write_bytes(archive(codes, {str(n): raw for n in range(COUNT)}))
    elif kind.startswith("safetensors"):
        entries = {name: {"dtype": "BF16" if item == 2 else "F32", "shape": [1024, 1024],
                          "data_offsets": [n * len(raw), (n + 1) * len(raw)]}
                   for n, name in enumerate(codes)}
        text = json.dumps(entries).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + raw * COUNT)
    else:
        head = b"\x80\x02" + LEGACY_MAGIC + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
        body = b"\x80\x02}(" + b"".join(hostile.text(name) + code for name, code in codes.items()) + b"u."
        path.write_bytes(head + body + pickle.dumps([str(n) for n in range(COUNT)], 2)
                         + b"".join(NUMEL.to_bytes(8, "little") + raw for _ in range(COUNT)))


@pytest.mark.parametrize("kind",
                         ["zip", "zip bfloat16", "legacy", "legacy bfloat16", "safetensors", "safetensors bfloat16"])
def test_big_files_are_never_held_whole(tmp_path: Path, kind: str) -> None:
    """Taking the tensors of a file of 50 or 100 MiB one at a time takes less than 40 MiB: two tensors, and pieces."""
    _big(kind, tmp_path / "big")
    done = subprocess.run([sys.executable, "-c", BIG, str(tmp_path / "big")], capture_output=True, text=True,
                          check=True)
    growth, total = done.stdout.split()
    assert float(total) == COUNT and int(growth) < 40 << 10


def test_reading_stays_light() -> None:
    """The readers serve the command line and the web server, which must not import Jittor (nor PyTorch)."""
    code = ("import sys, jittor_ipl.weights.containers.read, jittor_ipl.weights.delta, jittor_ipl.weights.generator, "
            "jittor_ipl.weights.clip; sys.exit(bool({'jittor', 'torch'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

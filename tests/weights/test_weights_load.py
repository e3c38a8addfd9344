"""Files written by PyTorch, Jittor and NumPy come back bit for bit, and foreign files are called by their name."""
from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.weights.load import read_tensors
from jittor_ipl.weights.pickle_reader import UnsafeWeightsError

DATA = Path(__file__).parent / "data"
ARRAYS = {"a": np.arange(6, dtype="f4").reshape(2, 3), "fortran": np.asfortranarray(np.arange(6.0).reshape(3, 2)),
          "half": np.ones(3, "f2"), "long": np.arange(4), "flag": np.array([True, False]), "scalar": np.array(2.5, "f4"),
          "empty": np.zeros((0, 2), "f4"), "big endian": np.arange(3, dtype=">f4"), "number": np.float32(3)}


def assert_equal(found: dict[str, np.ndarray], expected) -> None:
    assert set(found) == set(expected)
    for name in expected:
        assert found[name].shape == expected[name].shape, name
        assert found[name].dtype == expected[name].dtype.newbyteorder("="), name
        assert found[name].tobytes() == expected[name].astype(found[name].dtype).tobytes(), name


@pytest.mark.parametrize("name, format", [
    ("zip", "torch-zip"), ("legacy", "torch-legacy"), ("rosinality", "torch-zip"), ("rosinality_legacy", "torch-legacy"),
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
    assert read_tensors(DATA / "rosinality.pt", container="g")[1].container == "g"
    assert read_tensors(DATA / "mapper.pt")[1].container == "m"
    with pytest.raises(UserError, match="did you mean 'g_ema'"):
        read_tensors(DATA / "rosinality.pt", container="gema")


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
    (b"  <!DOCTYPE html><html>", "a web page"), (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
    (b'{"a": 1}', "a JSON text"), (b"hello\n", "a text file"), (b"\x1f\x8b\x08", "a gzip archive"),
    (bytes(range(128, 256)), "unknown format"), (b"PK\x05\x06" + bytes(18), "empty or split zip")])
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


def test_reading_stays_light() -> None:
    """The readers serve the command line and the web server, which must not import Jittor (nor PyTorch)."""
    code = ("import sys, jittor_ipl.weights.load, jittor_ipl.weights.delta, jittor_ipl.weights.generator, "
            "jittor_ipl.weights.clip; sys.exit(bool({'jittor', 'torch'} & set(sys.modules)))")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

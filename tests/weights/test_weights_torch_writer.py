"""PyTorch files written without PyTorch: read back by our reader, and by PyTorch itself where that is there."""
from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from reference import run_reference

from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.bfloat16 import Bfloat16, narrow
from jittor_ipl.weights.containers.read import read_tensors
from jittor_ipl.weights.containers.torch_writer import write_torch

TYPES = ("float16", "float32", "float64", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64")


def every_kind() -> dict:
    random = np.random.default_rng(0)
    kinds = {kind: (random.standard_normal((3, 4)) * 50).astype(kind) for kind in TYPES}
    whole = np.arange(12, dtype="f4").reshape(3, 4)
    return {**kinds, "bool": np.array([True, False]), "bfloat16": narrow(random.standard_normal((5, 2))),
            "empty": np.zeros((0, 3), "f4"), "scalar": np.array(3, "f4"), "turned": whole.T, "stepped": whole[:, ::2],
            "big endian": whole.astype(">f4")}


def native(value) -> np.ndarray:
    return value.widen() if isinstance(value, Bfloat16) else np.ascontiguousarray(
        value, value.dtype.newbyteorder("=")).reshape(value.shape)


@pytest.fixture
def written(tmp_path):
    write_torch(tmp_path / "x.pt",
                {"g_ema": every_kind(), "step": 70000, "list": [1.5, None, True, (-1, "ü"), 2**40, -129, 2**63]})
    return tmp_path / "x.pt"


def test_our_reader_returns_every_bit(written):
    tensors, info = read_tensors(written)
    assert info.format == "torch-zip" and info.container == "g_ema"
    for name, value in every_kind().items():
        assert tensors[name].dtype == native(value).dtype and tensors[name].shape == native(value).shape, name
        assert tensors[name].tobytes() == native(value).tobytes(), name


def test_equal_trees_give_equal_bytes(tmp_path, written):
    write_torch(tmp_path / "y.pt",
                {"g_ema": every_kind(), "step": 70000, "list": [1.5, None, True, (-1, "ü"), 2**40, -129, 2**63]})
    assert written.read_bytes() == (tmp_path / "y.pt").read_bytes()


def test_records_are_stored_at_64_byte_boundaries(written):
    with zipfile.ZipFile(written) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            name_length, extra_length = np.frombuffer(written.read_bytes()[info.header_offset + 26:][:4],
                                                      "<u2").tolist()
            assert info.compress_type == zipfile.ZIP_STORED and not info.flag_bits
            assert (info.header_offset + 30 + name_length + extra_length) % 64 == 0, info.filename


def test_bfloat16_rounds_to_nearest_even():
    values = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, np.inf, -np.inf, np.nan, 3.4e38, -0.0], "f4")
    wide = narrow(values).widen()
    assert wide[:4].tolist() == [1, 1, 1 + 2**-6, 1 + 2**-7] and np.isnan(wide[6]) and wide[7] == np.inf
    assert wide[4:6].tolist() == [np.inf, -np.inf] and np.signbit(wide[8])


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file"):
        write_torch(tmp_path / "file" / "x.pt", {})


@pytest.mark.reference
def test_pytorch_reads_it_without_trusting_it(tmp_path, written):
    told = json.loads(run_reference(
        "import json, sys, torch\n"
        "for mmap in (False, True):\n"
        "    holder = torch.load(sys.argv[1], weights_only=True, mmap=mmap)\n"
        "    state = holder.pop('g_ema')\n"
        "    torch.save({k: v.clone() for k, v in state.items()}, sys.argv[2] + str(mmap))\n"
        "print(json.dumps([holder, {k: [str(v.dtype), list(v.shape), v.is_contiguous()] "
        "for k, v in state.items()}]))\n",
        written, tmp_path / "again"))
    assert told[0] == {"step": 70000, "list": [1.5, None, True, [-1, "ü"], 2**40, -129, 2**63]}
    for mmap in ("False", "True"):
        again, _ = read_tensors(tmp_path / f"again{mmap}")
        for name, value in every_kind().items():
            assert told[1][name] == [f"torch.{value.dtype.name}", list(value.shape), True]
            assert again[name].tobytes() == native(value).tobytes(), name

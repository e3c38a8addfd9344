"""One small valid file of every container, as bytes: what is cut, flipped and fuzzed."""
from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data"
ARRAYS = {"a.weight": np.arange(6, dtype="f4").reshape(2, 3) / 7, "b": np.array([3, -1], "i8"),
          "c": np.array([True, False])}
# Without a checksum: a flipped bit in the numbers of these cannot be noticed by any reader.
UNCHECKED = ("safetensors", "legacy", "pickle-0", "pickle-2", "pickle-4", "pdparams", "nested", "npy")


def small_files() -> dict[str, bytes]:
    """Return the files by the name of their container."""
    pickled = pickle.dumps(ARRAYS, 4)
    return {
        "safetensors": _safetensors(), "zip": (DATA / "tiny.pt").read_bytes(),
        "legacy": (DATA / "tiny_legacy.pt").read_bytes(),
        "torchscript": _script(), "pickle-0": pickle.dumps(ARRAYS, 0), "pickle-2": pickle.dumps(ARRAYS, 2),
        "pickle-4": pickled, "jittor": with_jittor_trailer(pickled), "pdparams": _paddle(), "nested": nested_pickle(),
        "npy": _saved(np.save, ARRAYS["a.weight"]), "npz": _saved(np.savez, **ARRAYS),
        "npz-deflated": _saved(np.savez_compressed, **ARRAYS)}


def with_jittor_trailer(pickled: bytes) -> bytes:
    """Return the pickle as jt.save ends it."""
    return pickled + hashlib.sha1(pickled).digest() + b"HCAJSLHD"


def nested_pickle(stream: bytes = b"") -> bytes:
    """Return what pickle.dump writes for a dictionary with one tensor: its storage is a legacy stream inside."""
    stream = stream or legacy_stream(np.array([1.5, -2], "<f4").tobytes(), 2)
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + load_from_bytes(stream) + b"K\x00K\x02\x85K\x01\x85\x89NtR"
    return b"\x80\x02}" + _text("w") + tensor + b"s."


def load_from_bytes(stream: bytes) -> bytes:
    """Return the pickle code of `torch.storage._load_from_bytes(stream)`."""
    return b"ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(stream)) + stream + b"\x85R"


def legacy_stream(data: bytes, numel: int, inner: bytes = b"") -> bytes:
    """Return a legacy PyTorch stream that holds one float storage (or the pickle body `inner` in its place)."""
    head = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + pickle.dumps(1001,
                                                                      2) + pickle.dumps({"little_endian": True}, 2)
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("7") + _text("cpu") + b"K" + bytes(
        [numel]) + b"NtQ"
    return head + b"\x80\x02" + (inner or storage) + b"." + pickle.dumps([] if inner else ["7"], 2) \
        + (b"" if inner else struct.pack("<q", numel) + data)


def _safetensors() -> bytes:
    entries, end, data = {"__metadata__": {"kind": "test"}}, 0, b""
    for name, dtype in (("b", "I64"), ("a.weight", "F32"), ("c", "BOOL")):
        raw = ARRAYS[name].tobytes()
        entries[name] = {"dtype": dtype, "shape": list(ARRAYS[name].shape), "data_offsets": [end, end + len(raw)]}
        end, data = end + len(raw), data + raw
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


def _script() -> bytes:
    """A TorchScript archive: an object of a class of its own with a tensor and a child, and its source code, unread."""
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text("0") + _text("cpu") + b"K\x02tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\x00K\x02\x85K\x01\x85\x89NtR"
    child = b"c__torch__\nLinear\n)\x81}" + _text("weight") + tensor + b"sb"
    root = b"\x80\x02c__torch__\nNet\n)\x81}(" + _text("training") + b"\x89" + _text("fc") + child + b"ub."
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in (("data.pkl", root), ("code/__torch__.py", b"raise SystemExit\n"),
                           ("constants.pkl", b"\x80\x02)."),
                           ("data/0", np.array([1.5, -2], "<f4").tobytes())):
            archive.writestr(f"net/{name}", data)
    return buffer.getvalue()


def _paddle() -> bytes:
    """A .pdparams as Paddle 2 writes it: pairs, a table of names, and a parameter in slices."""
    state = {"fc.weight": ("linear_0.w_0", ARRAYS["a.weight"]), "plain": ARRAYS["b"], "big@@.0": np.zeros(4, "f4"),
             "big@@.1": np.ones(2, "f4"),
             "StructuredToParameterName@@": {"fc.weight": "linear_0.w_0"},
             "UnpackBigParamInfor@@": {"big": {"OriginShape": (3, 2), "slices": ["big@@.0", "big@@.1"]}}}
    return pickle.dumps(state, 2)


def _saved(save, *arrays, **named) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arrays, **named)
    return buffer.getvalue()


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()

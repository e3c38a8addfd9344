"""safetensors files: a validating reader and an atomic, byte-reproducible writer.

The format: 8 bytes little-endian header length, a JSON header, then the tensors' bytes back to back. The reader
accepts nothing that could be read in two ways: no gaps, no overlap, no trailing bytes, no duplicate names. It takes
the tensors from the file by itself, for NumPy has no bfloat16 and a mapped file that is cut short ends the process.
"""
from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from jittor_ipl.disk.atomic import staged
from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.bfloat16 import Bfloat16
from jittor_ipl.weights.containers.lazy import LazyArray, Tensors
from jittor_ipl.weights.containers.limits import UnsafeWeightsError
from jittor_ipl.weights.containers.pickle.torch_rules import BFLOAT16
from jittor_ipl.weights.containers.safetensors_header import CODES, Entry, read_header
from jittor_ipl.weights.containers.source import ByteSource
from jittor_ipl.weights.containers.storage import widen_bfloat16

_NAMES = {np.dtype(code): name for name, code in CODES.items() if name != "BF16"}


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the tensors (file order, BF16 widened to float32) and the string metadata of a safetensors file.

    Raises UserError in one line when the file is missing or breaks the specification in any way.
    """
    source = ByteSource(path)
    try:
        tensors, metadata = open_safetensors(source)
        return {name: entry.load() for name, entry in tensors.entries.items()}, metadata
    except UnsafeWeightsError as error:
        raise UserError(f"{source.name}: {error}") from error
    except OSError as error:
        raise UserError(f"cannot read {source.name}: {error.strerror or error}") from error


def open_safetensors(source: ByteSource) -> tuple[Tensors, dict[str, str]]:
    """Return the tensors, to be read one at a time, and the metadata; raises UnsafeWeightsError for any breach."""
    entries, metadata = read_header(source)
    return Tensors({name: _lazy(source, entry) for name, entry in entries.items()}, source.name), metadata


def _lazy(source: ByteSource, entry: Entry) -> LazyArray:
    dtype = np.dtype("f4" if entry.dtype == "BF16" else CODES[entry.dtype]).newbyteorder("=")
    stored = BFLOAT16 if entry.dtype == "BF16" else dtype.name
    return LazyArray(entry.shape, dtype, stored, partial(_read_tensor, source, entry, dtype))


def _read_tensor(source: ByteSource, entry: Entry, dtype: np.dtype) -> np.ndarray:
    """Read a few megabytes at a time into the array, widening on the way: nothing is held twice."""
    flat, at = np.empty(math.prod(entry.shape), dtype), 0
    for place, count in source.chunks(entry.begin, entry.end - entry.begin):
        raw = source.read(place, count)
        part = np.frombuffer(raw, "u1" if entry.dtype == "BOOL" else CODES[entry.dtype])
        part = widen_bfloat16(part) if entry.dtype == "BF16" else part != 0 if entry.dtype == "BOOL" else part
        flat[at:at + len(part)] = part
        at += len(part)
    return flat.reshape(entry.shape)


def write_safetensors(path: str | os.PathLike, tensors: "Mapping[str, np.ndarray | Bfloat16]",
                      metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors` atomically; equal inputs give equal bytes whatever the order of the mappings.

    Raises UserError when the file cannot be written. Metadata values must be strings (a rule of the format).
    """
    header, arrays = _layout(tensors, metadata or {})
    with staged(path) as temporary, open(temporary, "wb") as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for array in arrays:
            file.write(array.data if array.size and array.ndim else array.tobytes())


def _layout(tensors: "Mapping[str, np.ndarray | Bfloat16]", metadata: Mapping[str, str]) -> tuple[bytes, list[np.ndarray]]:
    """Return the padded header and the arrays in file order: wide types first, so that all stay aligned."""
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in metadata.items()), "metadata must be strings"
    kinds = {name: "BF16" if isinstance(value, Bfloat16) else "" for name, value in tensors.items()}
    arrays = {name: _little_endian(name, value.bits if isinstance(value, Bfloat16) else np.asarray(value))
              for name, value in tensors.items()}
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for name in order:
        begin, end = end, end + arrays[name].nbytes
        header[name] = {"dtype": kinds[name] or _NAMES[arrays[name].dtype], "shape": list(arrays[name].shape),
                        "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    return text + b" " * (-len(text) % 8), [arrays[name] for name in order]


def _little_endian(name: str, array: np.ndarray) -> np.ndarray:
    dtype = array.dtype.newbyteorder("<") if array.dtype.byteorder == ">" else array.dtype
    assert isinstance(name, str) and name != "__metadata__" and dtype in _NAMES, f"cannot store {name}: {array.dtype}"
    return np.require(array, dtype=dtype, requirements="C")

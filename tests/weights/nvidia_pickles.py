"""A writer of pickles as NVIDIA's tools make them, on NumPy and the standard library alone, honest or otherwise."""
from __future__ import annotations

import io
import pickle
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jittor_ipl.weights.containers.torch_file import LEGACY_MAGIC

SOURCE_TEXT = "raise SystemExit('the text of a module in a weight file is never run')\n"


@dataclass(eq=False)
class Name:
    """A global, written without being imported."""

    module: str
    name: str


@dataclass(eq=False)
class Call:
    """An object made by calling a global."""

    function: Name
    arguments: tuple


@dataclass(eq=False)
class Made:
    """An object made by NEWOBJ and filled by BUILD."""

    kind: Name
    state: Any = field(default_factory=dict)


class Writer(pickle._Pickler):
    """Python's own pickler that also knows the three above."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_name(self, name: Name) -> None:
        self.write(b"c" + f"{name.module}\n{name.name}\n".encode())
        self.memoize(name)

    def save_call(self, call: Call) -> None:
        self.save(call.function)
        self.save(call.arguments)
        self.write(pickle.REDUCE)
        self.memoize(call)

    def save_made(self, made: Made) -> None:
        self.save(made.kind)
        self.write(b")" + pickle.NEWOBJ)
        self.memoize(made)
        self.save(made.state)
        self.write(pickle.BUILD)

    dispatch |= {Name: save_name, Call: save_call, Made: save_made}


def dumps(value: Any, protocol: int = 4) -> bytes:
    """Return the pickle of `value`, in which `Name`, `Call` and `Made` stand for what they describe."""
    buffer = io.BytesIO()
    Writer(buffer, protocol).dump(value)
    return buffer.getvalue()


def stream(array: np.ndarray) -> bytes:
    """Return the legacy PyTorch stream of one float32 storage, as `storage.__reduce__` makes it."""
    raw = np.ascontiguousarray(array, "<f4").tobytes()
    persistent = (b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x02\x00\x00\x0094X\x03\x00\x00\x00cpu"
                  + pickle.dumps(array.size, 2)[2:-1] + b"NtQ.")
    return (b"\x80\x02" + LEGACY_MAGIC + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2) + persistent
            + pickle.dumps(["94"], 2) + struct.pack("<q", array.size) + raw)


def tensor(array: np.ndarray) -> Call:
    """Return a tensor as a plain `pickle.dump` stores it."""
    storage = Call(Name("torch.storage", "_load_from_bytes"), (stream(array),))
    strides = tuple(stride // 4 for stride in np.require(array, "<f4", "C").strides)
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), (storage, 0, array.shape, strides, False, {}))


def persistent(class_name: str, tensors: dict[str, np.ndarray], children: dict[str, Any], **attributes: Any) -> Call:
    """Return an object of `torch_utils.persistence` with these buffers, sub-modules and attributes."""
    state = {"training": False, "_parameters": {}, "_buffers": {name: tensor(a) for name, a in tensors.items()},
             "_modules": children, **attributes}
    meta = {"type": "class", "version": 6, "module_src": SOURCE_TEXT, "class_name": class_name, "state": state}
    return Call(Name("torch_utils.persistence", "_reconstruct_persistent_obj"), (meta,))


def module(tensors: dict[str, np.ndarray], **attributes: Any) -> Call:
    """Return nested persistent objects for tensors of dotted names."""
    own = {name: array for name, array in tensors.items() if "." not in name}
    heads = dict.fromkeys(name.split(".", 1)[0] for name in tensors if "." in name)
    children = {
        head: module({name.split(".", 1)[1]: array for name, array in tensors.items() if name.startswith(head + ".")})
                for head in heads}
    return persistent(attributes.pop("class_name", "Module"), own, children, **attributes)


def tf_network(variables: dict[str, Any], components: dict[str, Made] | None = None, **static_kwargs: Any) -> Made:
    """Return a `dnnlib.tflib.network.Network`."""
    return Made(Name("dnnlib.tflib.network", "Network"), {
        "version": 4, "name": "G", "static_kwargs": static_kwargs, "components": components or {},
        "build_module_src": SOURCE_TEXT, "build_func_name": "G_main", "variables": list(variables.items())})

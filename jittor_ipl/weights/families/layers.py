"""The words in which families write down other programs' networks: layers as names and dimensions (see `schema`)."""
from __future__ import annotations

import re
from collections.abc import Iterable

from jittor_ipl.weights.families.schema import Dim, Schema

TRACKED = r"(.*\.)?num_batches_tracked"       # a counter of PyTorch's batch norm that inference does not need


def conv(name: str, n_out: Dim, n_in: Dim, kernel: int | tuple[int, int], bias: bool = False) -> Schema:
    """Return the tensors of a convolution with a square kernel, or one of (height, width)."""
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    return {f"{name}.weight": (n_out, n_in, height, width), **({f"{name}.bias": (n_out,)} if bias else {})}


def linear(name: str, n_out: Dim, n_in: Dim, bias: bool = True) -> Schema:
    """Return the tensors of a linear layer in PyTorch's orientation."""
    return {f"{name}.weight": (n_out, n_in), **({f"{name}.bias": (n_out,)} if bias else {})}


def batch_norm(name: str, channels: Dim, affine: bool = True) -> Schema:
    """Return the tensors of a batch norm without its counter (see TRACKED)."""
    parts = (("weight", "bias") if affine else ()) + ("running_mean", "running_var")
    return {f"{name}.{part}": (channels,) for part in parts}


def prefixed(prefix: str, schema: Schema) -> Schema:
    """Return `schema` with `prefix` before every name."""
    return {prefix + name: shape for name, shape in schema.items()}


def count(names: Iterable[str], pattern: str) -> int:
    """Return the largest number that group 1 of the regular expression finds at the start of a name, plus one, or 0.

    Numbers above 999 do not count: no network here has so many layers, and expecting them all would take long.
    """
    find = re.compile(pattern).match
    return max((int(m[1]) + 1 for m in map(find, names) if m and len(m[1]) <= 3), default=0)

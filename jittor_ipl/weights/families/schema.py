"""Tables of tensor names, the layers that they are put together of, and their unknown sizes found by vote.

A schema maps names to dimensions; a dimension is a number or the name of an unknown ("w", "c64"). Every tensor of a
file votes for the unknowns in its shape and the majority wins, so that one damaged tensor is reported as the odd one
out, not as the measure of all others.
"""
from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from jittor_ipl.weights.families.family import Shapes

Dim = int | str
Schema = dict[str, tuple[Dim, ...]]
TRACKED = r"(.*\.)?num_batches_tracked"       # a counter of PyTorch's batch norm that inference does not need


def solve(schema: Mapping[str, tuple[Dim, ...]], shapes: Shapes, default: int = 512) -> dict[str, int]:
    """Return a value for every unknown of `schema`: the most frequent in `shapes`, `default` where there is none."""
    votes: dict[str, Counter[int]] = {}
    for name, dims in schema.items():
        found = shapes.get(name, ())
        for dim, size in zip(dims, found if len(found) == len(dims) else (0,) * len(dims)):
            if isinstance(dim, str):
                votes.setdefault(dim, Counter())[size] += size > 0
    return {unknown: +count and count.most_common(1)[0][0] or default for unknown, count in votes.items()}


def fill(schema: Mapping[str, tuple[Dim, ...]], numbers: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Return the schema with numbers in place of its unknowns."""
    return {name: tuple(numbers[dim] if isinstance(dim, str) else dim for dim in dims) for name, dims in schema.items()}


def conv(name: str, n_out: Dim, n_in: Dim, kernel: int | tuple[int, int] = 3, bias: bool = False) -> Schema:
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


def norm(name: str, channels: Dim) -> Schema:
    """Return the scale and the shift of a layer norm or group norm."""
    return {f"{name}.weight": (channels,), f"{name}.bias": (channels,)}


def bottlenecks(blocks: Sequence[int], width: int, normalise: Callable[[str, Dim], Schema] = batch_norm) -> Schema:
    """Return the four stages of a ResNet of bottlenecks (He et al. 2015) whose first is `width` channels narrow."""
    names, n_in = {}, width
    for stage, number in enumerate(blocks):
        narrow, wide = width * 2**stage, 4 * width * 2**stage
        for block in range(number):
            name = f"layer{stage + 1}.{block}"
            layers = [("conv1", "bn1", narrow, n_in, 1), ("conv2", "bn2", narrow, narrow, 3),
                      ("conv3", "bn3", wide, narrow, 1)]
            # Only a stage's first block has an input of another width or size.
            layers += [("downsample.0", "downsample.1", wide, n_in, 1)] if block == 0 else []
            for layer, after, c_out, c_in, kernel in layers:
                names |= conv(f"{name}.{layer}", c_out, c_in, kernel) | normalise(f"{name}.{after}", c_out)
            n_in = wide
    return names

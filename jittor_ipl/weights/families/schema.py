"""Tables of tensor names whose sizes are partly unknown, and the unknowns found by vote.

A schema maps names to dimensions; a dimension is a number or the name of an unknown ("w", "c64"). Every tensor of a
file votes for the unknowns in its shape and the majority wins, so that one damaged tensor is reported as the odd one
out, not as the measure of all others.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from jittor_ipl.weights.families.family import Shapes

Dim = int | str
Schema = dict[str, tuple[Dim, ...]]


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

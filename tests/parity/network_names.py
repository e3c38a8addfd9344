"""The recorded names of published networks, and the checks that every family must pass on them."""
from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from jittor_ipl.errors import UserError
from jittor_ipl.models.strict import compare
from jittor_ipl.weights.families.family import Hints, Layout
from jittor_ipl.weights.families.registry import converted, identify

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures"


def recorded(family: str) -> dict[str, dict[str, tuple[int, ...]]]:
    """Return {network: {tensor: shape}} as make_network_names.py wrote it."""
    networks = json.loads(gzip.decompress((FIXTURES / family / "names.json.gz").read_bytes()))
    return {network: {name: tuple(shape) for name, shape in tensors.items()} for network, tensors in networks.items()}


def shapes_of(tensors: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Return name -> shape of named arrays."""
    return {name: array.shape for name, array in tensors.items()}


def recognise(shapes: Mapping[str, tuple[int, ...]], hints: Hints = Hints()) -> Layout:
    """Return the layout of a file with these tensors."""
    return identify(shapes, hints).layout


def adopt(tensors: Mapping[str, np.ndarray], hints: Hints = Hints(), *, source: str, kind: str | tuple[str, ...] = (),
          extras: Mapping[str, np.ndarray] = MappingProxyType({})) -> tuple[dict[str, np.ndarray], Layout]:
    """Return a file's tensors under our names, and its layout: recognised, strictly checked, converted."""
    found = identify(shapes_of(tensors), hints, kind)
    return converted(found, tensors, source=source, extras=extras), found.layout


def require_sound(shapes: dict[str, tuple[int, ...]], hints: Hints = Hints()) -> Layout:
    """Return the layout of a published network, after checking that the strict check finds nothing."""
    layout = recognise(shapes, hints)
    assert not compare(layout.expected, layout.optional, shapes)
    return layout


def require_strict(shapes: dict[str, tuple[int, ...]], hints: Hints = Hints()) -> None:
    """Fail unless any missing, extra or mis-shaped tensor is told by its name."""
    layout = recognise(shapes, hints)
    names = list(layout.expected)
    for name in (names[0], names[len(names) // 2], names[-1]):
        fewer = {n: np.broadcast_to(np.float32(0), s) for n, s in shapes.items() if n != name}
        for changed, what in ((fewer, "missing"), ({**fewer, name: np.zeros((1, 2, 3, 5), np.float32)}, "has shape"),
                              ({**fewer, name: np.broadcast_to(np.float32(0), shapes[name]), name + "x": np.zeros(1)},
                               "unexpected")):
            with pytest.raises(UserError, match=what) as caught:
                adopt(changed, hints, source="file")
            assert repr(name)[1:-1] in str(caught.value)

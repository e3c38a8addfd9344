"""Files that only this project writes and that no published layout describes: deltas of a generator, the demo judges.

Their names are those of the network behind them, so the metadata's `kind` tells them; what they must hold is checked
where they are used, by the delta's own hash of its source or by the judge's network.
"""
from __future__ import annotations

import numpy as np

from jittor_ipl.weights.families.family import Family, Hints, Layout, Shapes, Tensors


def _by_metadata(kind: str, dialect: str):
    def recognise(shapes: Shapes, hints: Hints) -> Layout | None:
        if hints.metadata.get("kind") != kind:
            return None
        return Layout(kind, dialect, hints.stored, dict(shapes))
    return recognise


def _unchanged(tensors: Tensors, layout: Layout) -> dict[str, np.ndarray]:
    return dict(tensors)


FAMILIES = (
    Family("delta", _by_metadata("delta", "ours"), _unchanged,
           next_step="python -m jittor_ipl generate --network {file} --source {source} --seeds 0-7"),
    Family("judge", _by_metadata("judge", "ours"), _unchanged,
           next_step="the demo world's measurements use it (docs/demo_results.md)"),
)

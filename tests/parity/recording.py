"""What recorders of numbers share: arrays are kept in a file, or compared with those that were kept before."""
from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

LIMIT, LEAST = 1e-4, 1e-3       # largest difference in parts of an array's largest magnitude, which counts as no less


def keep_or_check(doc: str, path: Path, record: Callable[[], Mapping[str, np.ndarray]]) -> None:
    """Run a recorder: write what `record` returns to `path` or --out, or compare it with the file given as --check.

    `doc`, the recorder's own, describes it. Prints the largest difference; AssertionError above LIMIT.
    """
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--out", type=Path, default=path)
    parser.add_argument("--check", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = record()
    if arguments.check is None:
        np.savez_compressed(arguments.out, **found)
        return
    with np.load(arguments.check) as kept:
        assert set(kept.files) == set(found), set(kept.files) ^ set(found)
        worst = max(float(np.abs(kept[name] - value).max() / max(np.abs(value).max(), LEAST))
                    for name, value in found.items())
    print(f"{worst:.3g}")
    assert worst < LIMIT, worst

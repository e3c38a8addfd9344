"""The making of a dictionary: an honest estimate first, then block by block; a stopped one goes on where it was."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ipl.disk.integrity import canonical
from jittor_ipl.editing.dictionary import metadata_of, save_dictionary
from jittor_ipl.editing.ways import FIRST_ORDER, Way
from jittor_ipl.errors import UserError
from jittor_ipl.weights.containers.safetensors import read_safetensors, write_safetensors

EVERY = 20.0            # seconds between two looks of the progress on the disk
DIRECTIONS, STATISTICS, PROGRESS = "directions.safetensors", "statistics.safetensors", "progress.safetensors"
Tell = Callable[[str], None]


def estimate(way: Way) -> float:
    """Return how many seconds all blocks will take, from a part of one that is measured twice.

    The first time also compiles kernels; the second counts.
    """
    way.sample()
    begun = time.perf_counter()
    part = way.sample()
    return (time.perf_counter() - begun) / part * way.blocks


def prepare(way: Way, folder: Path, facts: Mapping[str, Any], tell: Tell) -> Path:
    """Make the dictionary of `way` in `folder` and return its file; what is there of a stopped run is gone on with.

    facts: what the dictionary depends on besides the way (`generator_sha256`, `clips`, ...). Raises UserError for the
    progress of another dictionary.
    """
    facts = {**facts, **way.facts, "way": way.name, "layers": way.layers}
    path = folder / DIRECTIONS
    if path.is_file() and read_safetensors(path)[1] == metadata_of(facts):
        tell("this dictionary is there already: nothing is left to do")
        return path
    done, sums = _progress(folder / PROGRESS, facts)
    if done:
        tell(f"going on after {done} of {way.blocks} blocks")
    if done < way.blocks:
        seconds = estimate(way) * (way.blocks - done) / way.blocks
        tell(f"{way.name}: {way.renders} renders{' and passes back' if way.name == FIRST_ORDER else ''}, about "
             f"{duration(seconds)} (measured on a part of them); it may be stopped and goes on later")
    last = time.monotonic()
    for block in range(done, way.blocks):
        for name, array in way.measure(block).items():
            sums[name] = sums[name] + array if name in sums else array
        if time.monotonic() - last > EVERY and block + 1 < way.blocks:
            write_safetensors(folder / PROGRESS, sums, {"facts": canonical(facts).decode(), "blocks": str(block + 1)})
            tell(f"{block + 1} of {way.blocks} blocks")
            last = time.monotonic()
    save_dictionary(path, way.finish(sums), facts, half=True)
    (folder / PROGRESS).unlink(missing_ok=True)
    return path


def _progress(path: Path, facts: Mapping[str, Any]) -> tuple[int, dict[str, np.ndarray]]:
    """Return how many blocks are done and their sums; UserError for those of other settings."""
    if not path.is_file():
        return 0, {}
    sums, metadata = read_safetensors(path)
    if metadata.get("facts") != canonical(facts).decode() or not metadata.get("blocks", "").isdigit():
        raise UserError(f"{path.parent} holds the beginning of another dictionary (other generator, CLIP, way or "
                        "number of faces): choose another folder with --output, or remove it")
    return int(metadata["blocks"]), sums


def duration(seconds: float) -> str:
    """Return a time as people say it: "40 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def write_statistics(path: Path, tensors: Mapping[str, np.ndarray], generator_sha256: str) -> None:
    """Write means and deviations with the hash of their generator."""
    write_safetensors(path, tensors, {"kind": "style-statistics", "generator_sha256": generator_sha256})

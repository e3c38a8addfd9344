"""Make the pictures of a set, in this process or in several; the pixels do not depend on which."""
from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from jittor_ipl.adaptation.render import render
from jittor_ipl.disk.integrity import file_sha256, files_sha256
from jittor_ipl.errors import UserError
from jittor_ipl.jobs.workers import in_order
from jittor_ipl.submission.sets import SetEntry
from jittor_ipl.weights.refs import resolve

if TYPE_CHECKING:
    from jittor_ipl.diffusion.style_files import Painter
    from jittor_ipl.models.stylegan2.generator import Generator

CHUNK = 32  # pictures a worker takes at a time: small enough to share out, large enough to pay for loading the weights
Made = tuple[str, str, np.ndarray]  # style number, image name, pixels uint8 [H, W, 3]


def produce(entries: Sequence[SetEntry], wanted: Mapping[str, Sequence[str]], *, batch: int = 8,
            workers: int = 1) -> Iterator[Made]:
    """Yield (style number, image name, pixels) for the `wanted` names of every entry, style by style.

    Raises UserError for weights that do not load, do not fit their source, or give values that are not finite.
    """
    if workers <= 1:
        for entry in entries:
            if names := wanted.get(entry.number):
                yield from made_of(entry, names, batch)
        return
    tasks = [(entry, list(wanted[entry.number])[start:start + CHUNK], batch) for entry in entries
             for start in range(0, len(wanted.get(entry.number, ())), CHUNK)]
    workers = min(workers, len(tasks))
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, len(os.sched_getaffinity(0)) // max(1, workers)))
    for pictures in in_order(_all_made, tasks, [{"OMP_NUM_THREADS": threads}] * workers):
        yield from pictures


def weight_hashes(entries: Sequence[SetEntry]) -> dict[str, tuple[str, str]]:
    """Return, by style number, the SHA-256 of an entry's weight file and of its source generator's file.

    Raises UserError when a file is missing, or a weight file is not the one that was recorded.
    """
    of_source = lru_cache(maxsize=None)(source_sha256)      # gigabytes that many styles share
    return {entry.number: (_weights_sha256(entry), of_source(entry.plan.source, entry.is_lora)) for entry in entries}


def source_sha256(ref: str, diffusion: bool) -> str:
    """Return the SHA-256 of a source generator's file, or of a diffusion model; UserError when it is missing."""
    if diffusion:
        from jittor_ipl.weights.diffusion import sha256_of
        return sha256_of(ref)
    return file_sha256(resolve(ref))


def load(entry: SetEntry) -> Generator:
    """Load an entry's generator; a delta is applied to its source, which is read once per process.

    Raises UserError when the file is not the one that was recorded, or does not load.
    """
    from jittor_ipl.weights.generator import load_generator
    if entry.weights_sha256 is not None:
        _weights_sha256(entry)
    ref = f"{entry.weights}#{entry.place}" if entry.place else entry.weights
    return load_generator(ref, source=source_of(entry.plan.source) if entry.is_delta else None)


def _weights_sha256(entry: SetEntry) -> str:
    found = files_sha256(entry.files)
    if entry.weights_sha256 not in (None, found):
        raise UserError(f"{entry.weights} is damaged or was changed: its SHA-256 is not the recorded one")
    return found


@lru_cache(maxsize=1)
def source_of(ref: str) -> Generator:
    """Load the generator that `ref` names, once per process; nobody may change it."""
    from jittor_ipl.weights.generator import load_generator
    return load_generator(ref)


def made_of(entry: SetEntry, names: Sequence[str], batch: int) -> Iterator[Made]:
    """Yield an entry's pictures of these names, made in this process."""
    seeds = [entry.plan.images[name] for name in names]
    if entry.is_lora:
        images = load_painter(entry).paint(names, seeds, entry.plan.recipe)
    else:
        images = render(load(entry), seeds, entry.plan.recipe, batch=batch)
    return zip(repeat(entry.number), names, images)


def load_painter(entry: SetEntry) -> Painter:
    """Load an entry's LoRA into its base model; UserError when a file is not the recorded one, or does not fit."""
    from jittor_ipl.diffusion.style_files import painter
    from jittor_ipl.weights.diffusion import shared_diffusion
    if entry.weights_sha256 is not None:
        _weights_sha256(entry)
    return painter(shared_diffusion(entry.plan.source), entry.weights)


def _all_made(task: tuple[SetEntry, Sequence[str], int]) -> list[Made]:
    return list(made_of(*task))

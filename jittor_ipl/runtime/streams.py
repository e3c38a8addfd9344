"""Random numbers as a pure function of (seed, stream, step, index).

Nothing here keeps state, so a run can stop and resume, change its batch order or its number of workers and still draw
the same numbers. Jittor's own generator is not used: on the CPU it is a linear congruential one whose neighbouring
seeds are related, and its state cannot be saved.
"""
from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

from jittor_ipl.errors import UserError

MAX_SEED = 2**32 - 1
MAX_SEEDS_PER_LIST = 1_000_000


def check_seed(seed: int) -> int:
    """Return `seed` when it is a whole number in 0..2**32-1, as NumPy's `RandomState` takes; else raise `UserError`."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise UserError(f"seed {seed!r} is not a whole number; choose one in 0..{MAX_SEED}")
    if not 0 <= seed <= MAX_SEED:
        raise UserError(f"seed {seed} is out of range; choose one in 0..{MAX_SEED}")
    return int(seed)


def rng(seed: int, stream: str, step: int = 0, index: int = 0) -> np.random.Generator:
    """Return the generator that belongs to (seed, stream, step, index): Philox keyed by a hash of all four.

    `stream` names what is drawn ("z", "noise", "views"), so that adding a draw to one stream leaves the others alone.
    Raises `UserError` when the seed is out of range.
    """
    assert step >= 0 and index >= 0, (step, index)
    text = f"{check_seed(seed)}\0{stream}\0{step}\0{index}"
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype="<u8").astype(np.uint64)))


def z_from_seeds(seeds: Iterable[int], dim: int) -> np.ndarray:
    """Return the latents float32 [N, dim] of a user's seeds: `RandomState(seed).randn(dim)` each, as StyleGAN does.

    Raises `UserError` when a seed is not a whole number in 0..2**32-1.
    """
    return np.stack([np.random.RandomState(check_seed(seed)).randn(dim).astype(np.float32) for seed in seeds])


def parse_seeds(text: str | int) -> list[int]:
    """Return the seeds of a list such as `"0,1,5-10"` (ranges include both ends), in the order written.

    Raises `UserError` for anything else, for a range that runs backwards and for lists over a million seeds.
    """
    seeds: list[int] = []
    for part in map(str.strip, str(text).split(",")):
        numbers = [number.strip() for number in part.split("-")]
        if len(numbers) > 2 or not all(number.isascii() and number.isdigit() for number in numbers):
            raise UserError(f"seeds {text!r}: {part!r} is neither a number nor a range; write for example 0,1,5-10")
        first, last = check_seed(int(numbers[0])), check_seed(int(numbers[-1]))
        if last < first:
            raise UserError(f"seeds {text!r}: the range {part!r} runs backwards; write {last}-{first}")
        if len(seeds) + last - first + 1 > MAX_SEEDS_PER_LIST:
            raise UserError(f"seeds {text!r} name more than {MAX_SEEDS_PER_LIST} images; split the list")
        seeds.extend(range(first, last + 1))
    return seeds

"""Prove that weights and seeds give the recorded pictures: bit for bit on an equal machine, else within a tolerance.

The tolerance on other hardware, per picture against its reference pixels: no channel of any pixel differs by more than
MAX_LEVELS of 255, and PSNR is at least MIN_PSNR dB. Other instruction sets add the same float32 terms in another
order; that moves a value by about 1e-5 and its rounding to 8 bits by at most one level, in few pixels (one level in
every tenth value is 58 dB). A wrong seed, truncation or weight file gives below 30 dB.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ipl.disk.integrity import file_sha256, files_sha256
from jittor_ipl.disk.layout import MANIFEST, REFERENCE, SEEDS
from jittor_ipl.disk.names import SUFFIX, inside
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import load_image
from jittor_ipl.images.pixels import pixels_sha256
from jittor_ipl.images.sheets import read_mosaic
from jittor_ipl.metrics.pixels import psnr
from jittor_ipl.runtime.streams import rng
from jittor_ipl.submission.produce import produce, source_sha256
from jittor_ipl.submission.records import Manifest, StyleRecord, read_seeds, read_set_manifest
from jittor_ipl.submission.sets import SetEntry, TestSet, choose, open_set

MAX_LEVELS = 2
MIN_PSNR = 50.0


@dataclass
class Outcome:
    """What one suite's verification found; `differences` is empty when all is as recorded."""

    suite: str
    exact: bool                                             # the machine equals the recorded one: bits must agree
    checked: dict[str, int] = field(default_factory=dict)   # style number -> pictures that agree
    identical: int = 0                                      # of those, equal bit for bit
    unknown: int = 0                                        # other machine, other bits, and no reference pixels
    differences: list[str] = field(default_factory=list)
    differing: set[str] = field(default_factory=set)        # style numbers

    def add_difference(self, number: str, difference: str) -> None:
        """Note one difference of a style."""
        self.differing.add(number)
        self.differences.append(difference)

    def to_dict(self) -> dict[str, Any]:
        """Return the outcome for programs: `reproducible` says yes or no for every style that was looked at."""
        reproducible = {number: number not in self.differing for number in sorted({*self.checked, *self.differing})}
        return {"exact": self.exact, "agree": sum(self.checked.values()), "identical": self.identical,
                "unknown": self.unknown, "reproducible": reproducible, "differences": self.differences}


def verify(folder: Path, *, results: Path, styles: Sequence[str] = (), sample: int | None = None,
           batch: int = 8, workers: int = 1) -> Outcome:
    """Regenerate the pictures of `folder` and compare them with its record, after checking the hashes of all its files.

    `folder` is a released one, with its record inside, or `runs/<suite>`, whose record is `results/<suite>`. `sample`
    takes that many pictures over all styles, always the same ones. Raises UserError when there is nothing to compare.
    """
    record, test_set = _open(folder, results)
    test_set = choose(test_set, list(styles))
    manifest = read_set_manifest(record / MANIFEST)
    outcome = _judge_files(test_set, record, manifest)
    sound = [replace(entry, weights_sha256=None) for entry in test_set.entries if entry.number not in outcome.differing]
    wanted = _sampled(sound, sample)
    recorded = _recorded_pictures(record, manifest, test_set)
    for number, name, image in produce(sound, wanted, batch=batch, workers=workers):
        style = manifest.styles[number]
        identical = pixels_sha256(image) == style.pixels[name]
        before = None if identical else recorded(number, name)
        if not identical and before is None and not outcome.exact:
            outcome.unknown += 1
            continue
        difference = None if identical else _difference(image, before, outcome.exact)
        if difference is not None:
            outcome.add_difference(number, f"{test_set.suite}/{number}/{name}: {difference}")
            continue
        outcome.checked[number] = outcome.checked.get(number, 0) + 1
        outcome.identical += identical
    return outcome


def _open(folder: Path, results: Path) -> tuple[Path, TestSet]:
    """Return the folder of the record and the set to regenerate: the recorded seeds, made from `folder`'s weights."""
    test_set = open_set(folder)
    if (folder / SEEDS).is_file():
        return folder, test_set
    record = inside(results, test_set.suite)
    if not (record / MANIFEST).is_file():
        raise UserError(f"{folder} holds weights but no recorded pictures, and {record} has no {MANIFEST}: "
                        f"make them first with python run_all.py --weights {folder}")
    plans = read_seeds(record / SEEDS).styles
    entries = tuple(replace(e, plan=plans[e.number]) for e in test_set.entries if e.number in plans)
    if not entries:
        raise UserError(f"{record / SEEDS} records none of the styles in {folder}: "
                        f"run python run_all.py --weights {folder}")
    return record, TestSet(test_set.suite, entries)


def _judge_files(test_set: TestSet, record: Path, manifest: Manifest) -> Outcome:
    """Compare the SHA-256 of every recorded file, of the weights and their sources, before anything is generated."""
    from jittor_ipl.runtime.device import must_repeat
    outcome = Outcome(test_set.suite, exact=must_repeat(manifest.fingerprint))
    of_source = lru_cache(maxsize=None)(source_sha256)      # gigabytes that many styles share
    chosen = {SEEDS, *(entry.number for entry in test_set.entries)}
    for name, recorded in manifest.files.items():
        fault = _file_fault(record / name, recorded) if name.split("/")[0] in chosen else None
        if fault:
            outcome.add_difference(name.split("/")[0], f"{record / name}: {fault}")
    for entry in test_set.entries:
        style = manifest.styles.get(entry.number)
        if style is None or set(style.pixels) != set(entry.plan.images):
            fault = f"style {entry.label} does not name the pictures of {SEEDS}"
            outcome.add_difference(entry.number, f"{record / MANIFEST}: {fault}")
            continue
        fault = _weights_fault(entry, style, of_source)
        if fault and entry.number not in outcome.differing:
            outcome.add_difference(entry.number, fault)
    if SEEDS in outcome.differing:  # nothing that follows from a changed seed list proves anything
        outcome.differing.update(entry.number for entry in test_set.entries)
    return outcome


def _weights_fault(entry: SetEntry, style: StyleRecord, of_source: Callable[[str, bool], str]) -> str | None:
    """Return what is wrong with an entry's weights or with what they were made from, None when nothing is."""
    missing = [path for path in entry.files if not path.is_file()]
    if missing:
        return f"{missing[0]}: missing"
    weights = _changed(files_sha256(entry.files), style.weights_sha256)
    source = _changed(of_source(entry.plan.source, entry.is_lora), style.source_sha256)
    return f"{entry.weights}: {weights}" if weights else f"{entry.plan.source}: {source}" if source else None


def _file_fault(path: Path, recorded: str) -> str | None:
    return _changed(file_sha256(path), recorded) if path.is_file() else "missing"


def _changed(found: str, recorded: str) -> str | None:
    return None if found == recorded else f"changed: SHA-256 {found[:12]}..., recorded {recorded[:12]}..."


def _sampled(entries: list[SetEntry], sample: int | None) -> Mapping[str, list[str]]:
    """Return the names to make, per style: all, or always the same `sample` of them, spread over the styles."""
    every = {entry.number: list(entry.plan.images) for entry in entries}
    if sample is None or sample >= sum(map(len, every.values())):
        return every
    shuffled = {number: [names[i] for i in rng(0, "verify sample", index=int(number)).permutation(len(names))]
                for number, names in every.items()}
    in_turn = sorted((turn, number, name) for number, names in shuffled.items() for turn, name in enumerate(names))
    taken = {(number, name) for _, number, name in in_turn[:sample]}
    return {number: [name for name in names if (number, name) in taken] for number, names in every.items()}


def _recorded_pictures(record: Path, manifest: Manifest, test_set: TestSet) -> Callable[[str, str], np.ndarray | None]:
    """Return what finds a recorded picture by style number and name: in a release's mosaics, or in a results folder.

    The picture is uint8 [H, W, 3], or None when only its hash was recorded.
    """
    order = {entry.number: sorted(entry.plan.images) for entry in test_set.entries}
    mosaic = lru_cache(maxsize=1)(read_mosaic)      # the pictures come style by style

    def find(number: str, name: str) -> np.ndarray | None:
        if f"{number}/{name}{SUFFIX}" in manifest.files:
            return load_image(inside(record, number) / f"{name}{SUFFIX}")
        style, index = manifest.styles[number], order[number].index(name)
        if index >= style.references:
            return None
        return mosaic(inside(record, number, REFERENCE), style.references, tuple(style.size))[index]
    return find


def _difference(image: np.ndarray, before: np.ndarray | None, exact: bool) -> str | None:
    """Return what is wrong with a picture whose hash is not the recorded one; None when it is within the tolerance."""
    if before is None:
        return "the pixels are not the recorded ones"
    if before.shape != image.shape:
        return f"{image.shape[1]}x{image.shape[0]} pixels, recorded {before.shape[1]}x{before.shape[0]}"
    levels, ratio = int(np.abs(image.astype(int) - before).max()), float(psnr(image[None], before[None])[0])
    if exact:
        return f"not bit for bit: largest difference {levels}/255, PSNR {ratio:.1f} dB"
    if levels <= MAX_LEVELS and ratio >= MIN_PSNR:
        return None
    return f"largest difference {levels}/255, PSNR {ratio:.1f} dB; allowed {MAX_LEVELS}/255, {MIN_PSNR:.0f} dB"


def summary(outcome: Outcome) -> Iterator[str]:
    """Yield the lines that tell a person what was found."""
    agree = sum(outcome.checked.values())
    rule = "same machine as recorded: bit for bit" if outcome.exact else \
        f"another machine than recorded: at most {MAX_LEVELS}/255 and at least {MIN_PSNR:.0f} dB"
    yield f"{outcome.suite}: {agree} pictures agree, {outcome.identical} of them bit for bit ({rule})"
    if outcome.unknown:
        yield (f"{outcome.suite}: {outcome.unknown} pictures were not decided: other bits, "
               "and only their hashes are recorded")
    yield from outcome.differences

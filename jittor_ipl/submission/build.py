"""Fill a results folder: `results/<suite>/<NN>/<name>.png`, `seeds.json` and `manifest.json`, resumable and checked."""
from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from jittor_ipl.disk.atomic import staged
from jittor_ipl.disk.folders import inside, output_folder
from jittor_ipl.disk.integrity import file_sha256
from jittor_ipl.disk.layout import MANIFEST, SEEDS
from jittor_ipl.disk.lock import locked
from jittor_ipl.disk.names import SUFFIX
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import save_png
from jittor_ipl.images.pixels import pixels_sha256
from jittor_ipl.submission.produce import produce, weight_hashes
from jittor_ipl.submission.records import (
    Manifest,
    Seeds,
    StyleRecord,
    read_manifest,
    read_seeds,
    write_manifest,
    write_seeds,
)
from jittor_ipl.submission.sets import SetEntry, TestSet

EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in a submission: the earliest time that a zip can hold


@dataclass(frozen=True)
class Built:
    """What one build did: where it is, and how many pictures were made now or kept from before."""

    folder: Path
    made: int
    kept: int


def build(test_set: TestSet, root: Path, *, batch: int = 8, workers: int = 1) -> Built:
    """Make every picture of the set that `root/<suite>` does not hold yet, and record all of them.

    A picture is kept when the manifest says that the same weights, recipe, seed and machine made it and its file still
    has the recorded hash. The manifest is written after each style, so that an interrupted build goes on. Raises
    UserError for weights that do not load, a folder that cannot be written, or that another process is filling.
    """
    folder = output_folder(inside(output_folder(root), test_set.suite))
    with locked(folder):
        return _fill(test_set, folder, batch, workers)


def _fill(test_set: TestSet, folder: Path, batch: int, workers: int) -> Built:
    draft = _Draft(test_set, folder)
    wanted = {entry.number: draft.missing(entry) for entry in test_set.entries}
    for entry in test_set.entries:
        output_folder(inside(folder, entry.number))
        if not wanted[entry.number]:
            draft.close(entry)
    entries = {entry.number: replace(entry, weights_sha256=None) for entry in test_set.entries}  # hashed already
    made = produce(list(entries.values()), wanted, batch=batch, workers=workers)
    for number, pictures in groupby(made, key=lambda one: one[0]):     # they come style by style
        for _, name, image in pictures:
            draft.add(entries[number], name, image)
        draft.close(entries[number])
    count = sum(map(len, wanted.values()))
    return Built(folder, count, sum(len(entry.plan.images) for entry in test_set.entries) - count)


def pack(folder: Path, archive: Path) -> None:
    """Pack a results folder's pictures, seeds.json and manifest.json into a zip whose bytes depend only on them.

    Entries are in the order of their names and stored, not deflated: PNGs do not shrink, and the bytes must not depend
    on the zlib in use. Raises UserError where the disk refuses.
    """
    with staged(archive) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as packed:
        for name in sorted([MANIFEST, *read_manifest(folder / MANIFEST).files]):
            entry = zipfile.ZipInfo(f"{folder.name}/{name}", EPOCH)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o100644 << 16
            packed.writestr(entry, (folder / name).read_bytes())


class _Draft:
    """The records of a results folder while it is filled."""

    def __init__(self, test_set: TestSet, folder: Path):
        from jittor_ipl.runtime.device import fingerprint
        self.folder = folder
        self.fingerprint = fingerprint()
        self.before = self._before(test_set.suite)
        chosen = {entry.number: entry.plan for entry in test_set.entries}
        self.seeds = Seeds(suite=test_set.suite, styles={**self.before[0].styles, **chosen})
        self.hashes = weight_hashes(test_set.entries)
        self.pixels: dict[str, dict[str, str]] = {entry.number: {} for entry in test_set.entries}
        self.sizes: dict[str, tuple[int, int]] = {}
        self.styles, self.files = dict(self.before[1].styles), dict(self.before[1].files)

    def _before(self, suite: str) -> tuple[Seeds, Manifest]:
        """Return the records that the folder holds, or empty ones: other machines' and other formats' do not count."""
        manifest = Manifest(suite=suite, fingerprint=self.fingerprint, styles={}, files={})
        nothing = Seeds(suite=suite, styles={}), manifest
        if not (self.folder / MANIFEST).is_file():
            return nothing
        try:
            seeds, manifest = read_seeds(self.folder / SEEDS), read_manifest(self.folder / MANIFEST)
        except UserError:  # from an interrupted or an older build: it is made anew below
            return nothing
        return (seeds, manifest) if manifest.fingerprint == self.fingerprint else nothing

    def missing(self, entry: SetEntry) -> list[str]:
        """Return the names that must be made; the others' hashes are taken over."""
        seeds, manifest = self.before
        plan, record = seeds.styles.get(entry.number), manifest.styles.get(entry.number)
        same = plan and record and (plan.recipe, record.weights_sha256, record.source_sha256) == \
            (entry.plan.recipe, *self.hashes[entry.number])
        if not same:
            return list(entry.plan.images)
        kept = [name for name, seed in entry.plan.images.items() if plan.images.get(name) == seed
                and name in record.pixels and self._whole(f"{entry.number}/{name}{SUFFIX}")]
        self.pixels[entry.number] = {name: record.pixels[name] for name in kept}
        self.sizes[entry.number] = tuple(record.size)
        return [name for name in entry.plan.images if name not in set(kept)]

    def _whole(self, name: str) -> bool:
        path = self.folder / name
        return path.is_file() and file_sha256(path) == self.before[1].files.get(name)

    def add(self, entry: SetEntry, name: str, image: np.ndarray) -> None:
        """Write one picture and note its hashes."""
        path = inside(self.folder, entry.number) / f"{name}{SUFFIX}"
        save_png(path, image, {"style": entry.plan.style, "seed": str(entry.plan.images[name])})
        self.files[f"{entry.number}/{name}{SUFFIX}"] = file_sha256(path)
        self.pixels[entry.number][name] = pixels_sha256(image)
        self.sizes[entry.number] = image.shape[:2]

    def close(self, entry: SetEntry) -> None:
        """Record a style that is complete, forgetting pictures that its plan no longer names."""
        weights, source = self.hashes[entry.number]
        size, pixels = list(self.sizes[entry.number]), self.pixels[entry.number]
        self.styles[entry.number] = StyleRecord(source_sha256=source, weights_sha256=weights, size=size, pixels=pixels)
        wanted = {f"{entry.number}/{name}{SUFFIX}" for name in entry.plan.images}
        for name in [n for n in self.files if n.startswith(f"{entry.number}/") and n not in wanted]:
            del self.files[name]
            (self.folder / name).unlink(missing_ok=True)
        recorded = {number: plan for number, plan in self.seeds.styles.items() if number in self.styles}
        self.files[SEEDS] = write_seeds(self.folder / SEEDS, Seeds(suite=self.seeds.suite, styles=recorded))
        write_manifest(self.folder / MANIFEST, Manifest(suite=self.seeds.suite, fingerprint=self.fingerprint,
                                                      styles=self.styles, files=self.files))

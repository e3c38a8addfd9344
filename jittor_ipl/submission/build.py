"""Fill a results folder: `results/<suite>/<NN>/<name>.png`, `seeds.json` and `manifest.json`, resumable and checked."""
from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path

from jittor_ipl.disk.atomic import output_folder, staged
from jittor_ipl.disk.integrity import file_sha256
from jittor_ipl.disk.layout import MANIFEST, SEEDS, VERIFIED
from jittor_ipl.disk.lock import locked
from jittor_ipl.disk.names import SUFFIX, inside
from jittor_ipl.errors import UserError
from jittor_ipl.jobs.engine import Engine
from jittor_ipl.submission.produce import produce, weight_hashes
from jittor_ipl.submission.records import Manifest, Seeds, StyleRecord, read_seeds, read_set_manifest, write_records
from jittor_ipl.submission.remote import BLOCK, Saved, make_remotely, saved_in
from jittor_ipl.submission.sets import SetEntry, TestSet

EPOCH = (1980, 1, 1, 0, 0, 0)  # of every file in a submission: the earliest time that a zip can hold


@dataclass(frozen=True)
class Built:
    """What one build did: where it is, and how many pictures were made now or kept from before."""

    folder: Path
    made: int
    kept: int


def build(test_set: TestSet, root: Path, *, batch: int = 8, workers: int = 1, engine: Engine | None = None,
          block: int = BLOCK) -> Built:
    """Make every picture of the set that `root/<suite>` does not hold yet, and record all of them.

    A picture is kept when the manifest says that the same weights, recipe, seed and machine made it and its file still
    has the recorded hash. The manifest is written after each style, so that an interrupted build goes on. An older
    proof (`VERIFIED`) is removed before the first new picture. Raises UserError for weights that do not load, a folder
    that cannot be written, or that another process is filling.
    engine: makes them elsewhere, `block` pictures a task; else this process does, or `workers`.
    """
    folder = output_folder(inside(output_folder(root), test_set.suite))
    with locked(folder):
        draft = _Draft(test_set, folder)
        entries = {entry.number: replace(entry, weights_sha256=None) for entry in test_set.entries}  # hashed already
        kept = {number: draft.kept(entry) for number, entry in entries.items()}
        wanted = {number: [name for name in entry.plan.images if name not in kept[number]]
                  for number, entry in entries.items()}
        if any(wanted.values()):
            (folder / VERIFIED).unlink(missing_ok=True)
        for number, entry in entries.items():
            output_folder(inside(folder, number))
            if not wanted[number]:
                draft.finish(entry, kept[number], ())
        chosen = list(entries.values())
        if engine is None:      # written style by style: not before the one ahead is recorded
            made = produce(chosen, wanted, batch=batch, workers=workers)
            styles = ((number, saved_in(lambda number: inside(folder, number), chosen, pictures))
                      for number, pictures in groupby(made, key=itemgetter(0)))
        else:
            styles = groupby(make_remotely(engine, chosen, draft.hashes, wanted, folder, batch=batch, block=block),
                             key=attrgetter("number"))
        for number, pictures in styles:
            draft.finish(entries[number], kept[number], pictures)
    count = sum(map(len, wanted.values()))
    return Built(folder, count, sum(len(entry.plan.images) for entry in test_set.entries) - count)


def pack(folder: Path, archive: Path) -> None:
    """Pack a results folder's pictures, seeds.json and manifest.json into a zip whose bytes depend only on them.

    Entries are in the order of their names and stored, not deflated: PNGs do not shrink, and the bytes must not depend
    on the zlib in use. Raises UserError where the disk refuses.
    """
    with staged(archive) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as packed:
        for name in sorted([MANIFEST, *read_set_manifest(folder / MANIFEST).files]):
            entry = zipfile.ZipInfo(f"{folder.name}/{name}", EPOCH)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o100644 << 16
            packed.writestr(entry, (folder / name).read_bytes())


class _Draft:
    """The records of a results folder while it is filled: what it held before, and style by style what it holds now."""

    def __init__(self, test_set: TestSet, folder: Path):
        from jittor_ipl.runtime.device import fingerprint
        self.folder, self.hashes = folder, weight_hashes(test_set.entries)
        self.seeds = Seeds(suite=test_set.suite, styles={})
        self.manifest = Manifest(suite=test_set.suite, fingerprint=fingerprint(), styles={}, files={})
        with suppress(UserError):   # none yet, from an interrupted or an older build: all is made anew
            seeds, manifest = read_seeds(folder / SEEDS), read_set_manifest(folder / MANIFEST)
            if manifest.fingerprint == self.manifest.fingerprint:   # else another machine's
                self.seeds.styles.update(seeds.styles)
                self.manifest.styles.update(manifest.styles)
                self.manifest.files.update(manifest.files)

    def kept(self, entry: SetEntry) -> dict[str, str]:
        """Return the pictures that are there as the entry wants them, name -> SHA-256 of the pixels."""
        plan, record = self.seeds.styles.get(entry.number), self.manifest.styles.get(entry.number)
        if not (plan and record and (plan.recipe, record.weights_sha256, record.source_sha256)
                == (entry.plan.recipe, *self.hashes[entry.number])):
            return {}

        def whole(name: str) -> bool:
            path = self.folder / entry.number / f"{name}{SUFFIX}"
            return path.is_file() and file_sha256(path) == self.manifest.files.get(f"{entry.number}/{path.name}")
        return {name: record.pixels[name] for name, seed in entry.plan.images.items()
                if plan.images.get(name) == seed and name in record.pixels and whole(name)}

    def finish(self, entry: SetEntry, kept: Mapping[str, str], made: Iterable[Saved]) -> None:
        """Record the pictures made now and those that are kept, forget what the plan no longer names."""
        number, pixels = entry.number, dict(kept)
        size = self.manifest.styles[number].size if kept else None
        files = {f"{number}/{name}{SUFFIX}": self.manifest.files[f"{number}/{name}{SUFFIX}"] for name in kept}
        for one in made:
            path = inside(self.folder, number) / f"{one.name}{SUFFIX}"
            files[f"{number}/{path.name}"], pixels[one.name], size = file_sha256(path), one.pixels_sha256, one.size
        for name in [name for name in self.manifest.files if name.startswith(f"{number}/")]:
            del self.manifest.files[name]
            if name not in files:
                (self.folder / name).unlink(missing_ok=True)
        weights, source = self.hashes[number]
        self.seeds.styles[number] = entry.plan
        self.manifest.styles[number] = StyleRecord(source_sha256=source, weights_sha256=weights, size=size,
                                                   pixels=pixels)
        self.manifest.files.update(files)
        write_records(self.folder, self.seeds, self.manifest)

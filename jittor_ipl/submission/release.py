"""Fill `B_weight/<suite>` from finished runs: deltas, configurations, seeds, reference pixels and the manifest."""
from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jittor_ipl.config import LoraRun, StyleRun, load_config, save_config
from jittor_ipl.disk import atomic
from jittor_ipl.disk.integrity import file_sha256
from jittor_ipl.disk.layout import CARD, CONFIG, DELTA, REFERENCE, SEEDS
from jittor_ipl.disk.lock import locked
from jittor_ipl.disk.names import inside
from jittor_ipl.errors import UserError
from jittor_ipl.images.pixels import pixels_sha256
from jittor_ipl.images.sheets import capacity, write_mosaic
from jittor_ipl.submission.card import model_card
from jittor_ipl.submission.produce import produce, source_of, weight_hashes
from jittor_ipl.submission.records import Manifest, Seeds, StyleRecord, write_records
from jittor_ipl.submission.sets import SetEntry, TestSet, entry_in, open_set

_PREFIX = ".release-"


def release(runs: Path, root: Path, *, half: bool = True, limit_mib: float = 25.0, batch: int = 8,
            workers: int = 1, seeds: str | None = None) -> Path:
    """Write `root/<suite>` from the finished runs in `runs` and return it; the old release is replaced as a whole.

    `seeds` replaces the configured ones, as in `open_set`: by `results/<suite>/seeds.json`, for example.
    `half` stores float16 differences to the source, half the size; the recorded pictures are made from what is stored.
    Raises UserError when a style is unfinished, a file does not fit its source, the release exceeds `limit_mib`, or the
    disk refuses; then the old release is untouched.
    """
    test_set = open_set(runs, seeds)
    if (runs / SEEDS).is_file():
        raise UserError(f"{runs} is a release already: give the runs it was made from")
    if test_set.missing:
        raise UserError(f"unfinished in {runs}: {', '.join(test_set.missing)}; finish them with train_all.sh, "
                        "or remove them")
    target = inside(atomic.output_folder(root), test_set.suite)
    with locked(root):
        atomic.recover_folder(target)       # undo what a killed release left
        for leftover in root.glob(f"{_PREFIX}*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        staged = Path(tempfile.mkdtemp(dir=root, prefix=_PREFIX, suffix=".tmp"))
        try:
            with atomic.as_user_error(target):
                _fill(staged, test_set, half, limit_mib, batch, workers)
                _check_size(staged, limit_mib, "the release takes")
                staged.chmod(0o755)  # mkdtemp made it private
                atomic.replace_folder(staged, target)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return target


def _check_size(folder: Path, limit_mib: float, what: str) -> None:
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
    if size > limit_mib:
        raise UserError(f"{what} {size:.1f} MiB, {limit_mib:g} are allowed: raise --limit-mib, or release fewer styles")


def _fill(folder: Path, test_set: TestSet, half: bool, limit_mib: float, batch: int, workers: int) -> None:
    from jittor_ipl.runtime.device import fingerprint
    entries = [_store(folder, entry, half) for entry in test_set.entries]
    _check_size(folder, limit_mib, "the weights alone take")    # before hours of pictures
    names = {entry.number: sorted(entry.plan.images) for entry in entries}
    pictures: dict[str, dict[str, np.ndarray]] = {}
    for number, name, image in produce(entries, names, batch=batch, workers=workers):
        pictures.setdefault(number, {})[name] = image
    hashes = weight_hashes(entries)
    styles = {e.number: _record(folder / e.number, *hashes[e.number], pictures[e.number]) for e in entries}
    files = {path.relative_to(folder).as_posix(): file_sha256(path) for path in folder.rglob("*") if path.is_file()}
    write_records(folder, Seeds(suite=test_set.suite, styles={e.number: e.plan for e in entries}),
                  Manifest(suite=test_set.suite, fingerprint=fingerprint(), styles=styles, files=files))


def _store(folder: Path, entry: SetEntry, half: bool) -> SetEntry:
    """Write one style's delta, or its LoRA, and its configuration; return the entry that reads them."""
    if entry.is_lora:
        return _store_lora(atomic.output_folder(folder / entry.number), entry, half)
    from jittor_ipl.weights.generator import load_generator, save_generator_delta
    target = atomic.output_folder(folder / entry.number) / DELTA
    save_generator_delta(load_generator(entry.weights), source_of(entry.plan.source), target,
                         {"suite_style": entry.plan.style, "source": entry.plan.source}, half=half)
    save_config(load_config(entry.weights.parent / CONFIG, StyleRun), target.with_name(CONFIG))
    return SetEntry(entry.number, entry.plan, target, is_delta=True)


def _store_lora(folder: Path, entry: SetEntry, half: bool) -> SetEntry:
    """Write one style's LoRA, what its pictures need besides, its configuration and its card."""
    from jittor_ipl.diffusion.style_files import copy_style
    run = load_config(entry.weights.parent / CONFIG, LoraRun)
    copy_style(entry.weights.parent, folder, entry.plan.recipe, half)
    save_config(run, folder / CONFIG)
    atomic.write_bytes(folder / CARD, model_card(run, entry.plan).encode())
    return entry_in(folder, entry.number, entry.plan)


def _record(folder: Path, weights: str, source: str, pictures: Mapping[str, np.ndarray]) -> StyleRecord:
    """Write one style's mosaic of the first pictures by name; return the hashes of all of them."""
    names = sorted(pictures)
    height, width, _ = pictures[names[0]].shape
    shown = names[:capacity(height, width)]
    write_mosaic(folder / REFERENCE, [pictures[name] for name in shown])
    return StyleRecord(source_sha256=source, weights_sha256=weights, size=[height, width], references=len(shown),
                       pixels={name: pixels_sha256(pictures[name]) for name in names})

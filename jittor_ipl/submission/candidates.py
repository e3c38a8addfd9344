"""Several pictures a prompt, of which the competition's score chooses; and the base model's beside a LoRA's."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from jittor_ipl.config import LoraRun, load_config
from jittor_ipl.disk.layout import CONFIG
from jittor_ipl.disk.names import SUFFIX
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import list_images
from jittor_ipl.metrics import competition
from jittor_ipl.runtime.streams import MAX_SEED
from jittor_ipl.submission.build import build
from jittor_ipl.submission.demo_data import data_folder
from jittor_ipl.submission.sets import SetEntry, TestSet

FOLDER, STRIDE = "candidates", 1_000_000       # in the results; between a prompt's seeds
WITHOUT = {"dino": 0.0, "hist": 0.0, "lpips": 1.0, "fid": 0.0, "clip_r": 1.0, "clip_iqa": 1.0}  # parts not computed
TEXTS, PICTURES = 4096, 64      # remembered; of a picture 8 MiB (LPIPS), so that those of all styles would not fit
Scorers = Mapping[str, tuple[Any, ...]]     # part of the score -> what `metrics.competition` computes it with


def run_of(entry: SetEntry) -> LoraRun:
    """Return the configuration beside an entry's LoRA; UserError when it has none, as a generator's entry."""
    if not entry.is_lora or entry.weights is None:
        raise UserError(f"{entry.label} is no LoRA with a {CONFIG} beside it")
    return load_config(entry.weights.parent / CONFIG, LoraRun)


def base_set(test_set: TestSet) -> TestSet:
    """Return the same names and seeds by the base model alone, told `captions.base`; of runs that have it."""
    entries = []
    for entry in test_set.entries:
        caption = run_of(entry).base_caption
        if caption is not None:
            recipe = entry.plan.recipe.of_the_base(caption)
            entries.append(SetEntry(entry.number, entry.plan.model_copy(update={"recipe": recipe}), None, False))
    if not entries:
        raise UserError(f"no style of {test_set.suite!r} has captions.base: set what the base model alone is told")
    return TestSet(f"{test_set.suite}-base", tuple(entries))


def references_of(entry: SetEntry, references: Path | None = None) -> list[Path]:
    """Return the style's pictures, of `references/<NN>/images` or of the folder that its configuration names."""
    return list_images((references or data_folder(run_of(entry).data)) / entry.number / "images")


def counts_of(test_set: TestSet, asked: int | None, configured: bool) -> dict[str, int]:
    """Return how many seeds a picture each style is tried with: `asked`, else the configured number, else one."""
    return {entry.number: asked or (run_of(entry).sample.candidates if configured else 1)
            for entry in test_set.entries}


def best_of(test_set: TestSet, counts: Mapping[str, int], scorers: Scorers, root: Path, *,
            references: Path | None = None, workers: int = 1, note: Callable[[str], None] = print) -> TestSet:
    """Return the set with the best of `counts[number]` seeds for every picture, by one picture's score on `scorers`.

    Styles of one seed stay as they are. All candidates are made in `root/candidates/<n>/<suite>` and stay there, so
    that an interrupted choice goes on. The first candidate has the set's own seed.
    Raises UserError for a set of generators, or one without references.
    """
    several = [entry for entry in test_set.entries if counts[entry.number] > 1]
    shown = {entry.number: references_of(entry, references) for entry in several}
    scorers, folders, count = cached(scorers), [], max(counts.values())
    for index in range(count if several else 0):
        entries = tuple(with_seeds(entry, lambda seed, by=index * STRIDE: (seed + by) % (MAX_SEED + 1))
                        for entry in several if index < counts[entry.number])
        built = build(TestSet(test_set.suite, entries), root / FOLDER / f"{index:02d}", workers=workers)
        note(f"candidates {index + 1} of {count}: {built.made} pictures made, {built.kept} kept")
        folders.append((built.folder, {entry.number: entry.plan.images for entry in entries}))

    def best(entry: SetEntry, name: str) -> int:
        scores = [picture_score(folder / entry.number / f"{name}{SUFFIX}", shown[entry.number], scorers)
                  for folder, _ in folders[:counts[entry.number]]]
        return folders[int(np.argmax(scores))][1][entry.number][name]
    chosen = tuple(replace(entry, plan=entry.plan.model_copy(
        update={"images": {name: best(entry, name) for name in entry.plan.images}}))
        if counts[entry.number] > 1 else entry for entry in test_set.entries)
    return TestSet(test_set.suite, chosen, test_set.missing)


def with_seeds(entry: SetEntry, change: Callable[[int], int]) -> SetEntry:
    """Return the entry with every seed changed."""
    images = {name: change(seed) for name, seed in entry.plan.images.items()}
    return replace(entry, plan=entry.plan.model_copy(update={"images": images}))


def picture_score(picture: Path, references: Sequence[Path], scorers: Scorers) -> float:
    """Return the competition's score of one picture, of the parts that `scorers` has; FID, of many, is left out."""
    style = competition.Style("", (picture,), tuple(references))
    parts = {part: getattr(competition, part)([style], *needed) for part, needed in scorers.items() if part != "fid"}
    return competition.total({**WITHOUT, **parts})


def cached(scorers: Scorers) -> Scorers:
    """Return the same scorers, their functions remembering what they gave for texts and the latest pictures."""
    return {part: tuple(_remembering(value) if callable(value) else value for value in needed)
            for part, needed in scorers.items()}


def _remembering(function: Callable[[Any], np.ndarray]) -> Callable[[Any], np.ndarray]:
    of_text = lru_cache(TEXTS)(function)
    of_picture = lru_cache(PICTURES)(lambda pixels, shape: function(np.frombuffer(pixels, np.uint8).reshape(shape)))
    return lambda given: of_text(given) if isinstance(given, str) else of_picture(given.tobytes(), given.shape)

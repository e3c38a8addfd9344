"""Where pictures to make come from: finished runs, one run, a released folder in B_weight, or one weight file."""
from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jittor_ipl.adaptation.render import Recipe
from jittor_ipl.config import LoraRun, StyleRun, load_run
from jittor_ipl.diffusion.recipe import DiffusionRecipe, recipe_of
from jittor_ipl.diffusion.style_files import files_beside
from jittor_ipl.disk.integrity import file_sha256, joint_sha256, read_sealed
from jittor_ipl.disk.layout import CONFIG, DELTA, GENERATOR, LORA, MANIFEST, PROMPTS, REPORT, SEEDS
from jittor_ipl.disk.names import image_names, inside, seed_name
from jittor_ipl.disk.small_files import read_json
from jittor_ipl.errors import UserError, nearest
from jittor_ipl.runtime.streams import check_seed, parse_seeds
from jittor_ipl.submission.records import StyleSeeds, read_seeds, read_set_manifest
from jittor_ipl.weights.refs import resolve, split_place

_RUN_FOLDER = re.compile(r"[0-9]{2,6}-.+")


@dataclass(frozen=True)
class SetEntry:
    """One style of a set: its number in the suite ("00"), what to make, and the weight file to make it with."""

    number: str
    plan: StyleSeeds
    weights: Path | None            # None: `plan.source` alone
    is_delta: bool  # against `plan.source`
    weights_sha256: str | None = None  # `files_sha256` of the files when they were made, where that was recorded
    place: str | None = None        # in a weight file that holds several networks
    beside: tuple[Path, ...] = ()   # further files that the pictures depend on

    @property
    def label(self) -> str:
        """Return what messages call it: `00 disney`."""
        return f"{self.number} {self.plan.style}"

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the weight files behind the pictures, besides those of the source."""
        return (*([] if self.weights is None else [self.weights]), *self.beside)

    @property
    def is_lora(self) -> bool:
        """Whether a diffusion model makes the pictures."""
        return isinstance(self.plan.recipe, DiffusionRecipe)


@dataclass(frozen=True)
class TestSet:
    """A suite's entries in order; `missing` names run folders that hold no finished weights."""

    __test__ = False  # not a test case, whatever pytest thinks of its name

    suite: str
    entries: tuple[SetEntry, ...]
    missing: tuple[str, ...] = ()


def open_set(folder: Path, seeds: str | None = None) -> TestSet:
    """Open `runs/<suite>`, one run folder, or `B_weight/<suite>`, without reading any weights.

    `seeds` replaces the configured ones: "0,1,5-10", or a JSON file {image name: seed}, or {"00": {image name: seed}}.
    A LoRA's prompts keep theirs where the file has none; a generator makes what the file names and nothing else.
    Raises UserError when nothing usable is there, a file is malformed, or a seed or a name is refused.
    """
    if not folder.is_dir():
        siblings = [p.name for p in folder.parent.iterdir() if p.is_dir()] if folder.parent.is_dir() else []
        raise UserError(f"there is no folder {str(folder)!r}{nearest(folder.name, siblings)}; "
                        "give runs/<suite> or B_weight/<suite>")
    found = _released(folder) if (folder / SEEDS).is_file() else _runs(folder)
    return found if seeds is None else _with_seeds(found, seeds)


def open_one(ref: str, seeds: str, *, style: str | None = None, source: str | None = None,
             truncation: float | None = None, noise: str | None = None) -> SetEntry:
    """Return the entry that makes the `seeds` ("0,1,5-10") with the generator `ref`, named by seed.

    `truncation` and `noise` replace the style's recipe. Raises UserError when `ref` names nothing, several styles, or a
    LoRA, whose pictures need a prompt.
    """
    images = {seed_name(seed): seed for seed in parse_seeds(seeds)}
    if Path(ref).is_dir():
        entry = one_of(Path(ref), style)
        if entry.is_lora:
            raise UserError(f"{entry.label} is a LoRA: say with --prompt what its pictures show")
    else:
        path = resolve(ref)
        plan = StyleSeeds(style=path.stem, source=source or ref, recipe=Recipe(), images=images)
        entry = SetEntry("00", plan, path, is_delta=source is not None, place=split_place(ref)[1])
    changes = {key: value for key, value in (("truncation", truncation), ("noise", noise)) if value is not None}
    if not -2 <= changes.get("truncation", 0) <= 2:
        raise UserError(f"truncation {truncation} is out of range; choose -2 to 2")
    recipe = entry.plan.recipe.model_copy(update=changes)
    return replace(entry, plan=entry.plan.model_copy(update={"recipe": recipe, "images": images}))


def one_of(folder: Path, style: str | None) -> SetEntry:
    """Return the one entry of a folder, or the one of this style; UserError when there are several."""
    if style is None and (folder.parent / SEEDS).is_file():  # B_weight/<suite>/<NN>
        return choose(open_set(folder.parent), [folder.resolve().name]).entries[0]
    entries = choose(open_set(folder), [style] if style else []).entries
    if len(entries) != 1:
        raise UserError(f"{folder} holds {len(entries)} styles: choose one with --style, of "
                        + ", ".join(entry.plan.style for entry in entries))
    return entries[0]


def find_sets(root: Path) -> list[Path]:
    """Return the released folders at or below `root` (those with a seeds.json), sorted; hidden ones are passed over."""
    found = (path.parent.relative_to(root) for path in root.glob(f"**/{SEEDS}"))
    return [root / path for path in sorted(found) if not any(part.startswith(".") for part in path.parts)]


def choose(test_set: TestSet, styles: list[str]) -> TestSet:
    """Keep the styles with these names or numbers (all when the list is empty); UserError for one that is not there."""
    names = {name: entry for entry in test_set.entries for name in (entry.number, entry.plan.style)}
    for style in styles:
        if style not in names:
            raise UserError(f"no style {style!r} in {test_set.suite!r}{nearest(style, names)}; it has: "
                            + ", ".join(entry.plan.style for entry in test_set.entries))
    chosen = tuple(entry for entry in test_set.entries if not styles or {entry.number, entry.plan.style} & set(styles))
    return TestSet(test_set.suite, chosen, test_set.missing)


def plan_of(run: StyleRun | LoraRun, folder: Path) -> StyleSeeds:
    """Return the pictures that a run asks for: named by seed, or those of a LoRA by the prompts in its `folder`."""
    if isinstance(run, LoraRun):
        prompts = read_sealed(folder / PROMPTS, "list of prompts")["prompts"]
        images = {name: run.sample.seed + index for index, name in enumerate(prompts)}
        return StyleSeeds(style=run.style, source=run.base, recipe=recipe_of(run), images=images)
    recipe = Recipe(truncation=run.generate.truncation, noise=run.generate.noise,
                    mean_latent_samples=run.source.mean_latent_samples, mean_latent_seed=run.seed)
    images = {seed_name(seed): seed for seed in parse_seeds(run.generate.seeds)}
    return StyleSeeds(style=run.style, source=run.source.generator, recipe=recipe, images=images)


def _released(folder: Path) -> TestSet:
    seeds, manifest = read_seeds(folder / SEEDS), read_set_manifest(folder / MANIFEST)
    if manifest.files.get(SEEDS) != file_sha256(folder / SEEDS) or set(manifest.styles) != set(seeds.styles):
        raise UserError(f"{folder / SEEDS} is damaged or was edited: {MANIFEST} records another one")
    entries = tuple(entry_in(inside(folder, number), number, plan, DELTA, manifest.styles[number].weights_sha256)
                    for number, plan in sorted(seeds.styles.items()))
    return TestSet(seeds.suite, entries)


def entry_in(folder: Path, number: str, plan: StyleSeeds, generator: str = DELTA,
             weights_sha256: str | None = None) -> SetEntry:
    """Return the entry of a finished run or a released style: of its generator's file, or of its LoRA."""
    if not isinstance(plan.recipe, DiffusionRecipe):
        return SetEntry(number, plan, folder / generator, generator == DELTA, weights_sha256)
    return SetEntry(number, plan, folder / LORA, False, weights_sha256, beside=files_beside(folder, plan.recipe))


def _runs(folder: Path) -> TestSet:
    runs = [folder] if (folder / CONFIG).is_file() else \
        sorted(path for path in folder.iterdir() if _RUN_FOLDER.fullmatch(path.name) and (path / CONFIG).is_file())
    finished = [run for run in runs if (run / GENERATOR).is_file() or (run / LORA).is_file()]
    if not finished:
        raise UserError(f"{str(folder)!r} holds no finished run (<NN>-<style>/{GENERATOR} or {LORA}) and no {SEEDS}"
                        f"{_hint(folder)}")
    configs = [load_run(run / CONFIG) for run in finished]
    suites = {config.suite for config in configs}
    if len(suites) > 1:
        raise UserError(f"{str(folder)!r} mixes runs of the suites {', '.join(sorted(suites))}: one folder per suite")
    reports = [read_sealed(run / REPORT, "report") if (run / REPORT).is_file() else {} for run in finished]
    entries = tuple(_with_hash(entry_in(run, f"{config.number:02d}", plan_of(config, run), GENERATOR), run, report)
                    for config, run, report in zip(configs, finished, reports))
    if len({entry.number for entry in entries}) < len(entries):
        raise UserError(f"{str(folder)!r} holds two runs with one number: remove the one that is no longer wanted")
    return TestSet(suites.pop(), entries, tuple(run.name for run in runs if run not in finished))


def _with_hash(entry: SetEntry, run: Path, report: Mapping[str, Any]) -> SetEntry:
    """Return a run's entry with the hash that its report tells of its files."""
    told = report.get("files", {GENERATOR: report.get("generator_sha256")})
    hashes = [told.get(path.relative_to(run).as_posix()) for path in entry.files]
    return replace(entry, weights_sha256=None if None in hashes else joint_sha256(hashes))


def _hint(folder: Path) -> str:
    inner = sorted(path.parent.name for path in folder.glob(f"*/{SEEDS}")) or \
        sorted({path.parent.parent.name for name in (GENERATOR, LORA) for path in folder.glob(f"*/*/{name}")})
    return f"; did you mean {str(folder / inner[0])!r}?" if inner else "; train first: bash train_all.sh"


def _with_seeds(found: TestSet, seeds: str) -> TestSet:
    """Replace every generator's images by the list or the file that `seeds` names, and the seeds of LoRA's prompts."""
    if not seeds.endswith(".json") and any(entry.is_lora for entry in found.entries):
        raise UserError(f"--seeds {seeds}: a LoRA's pictures have prompts: "
                        'give a JSON file {number: {prompt: seed}}, such as {"00": {"Ring": 1724}}')
    wanted = _from_file(Path(seeds), found) if seeds.endswith(".json") else \
        dict.fromkeys((entry.number for entry in found.entries), {seed_name(s): s for s in parse_seeds(seeds)})
    if not any(entry.number in wanted for entry in found.entries):
        raise UserError(f"{seeds} names none of the styles of {found.suite!r}: "
                        + ", ".join(entry.label for entry in found.entries))
    entries = []
    for entry in found.entries:
        images = wanted.get(entry.number, {})
        if entry.is_lora:
            images = _for_prompts(entry, images, seeds)
        elif not images:
            print(f"{seeds} does not name {entry.label}: left out", file=sys.stderr)
            continue
        entries.append(replace(entry, plan=entry.plan.model_copy(update={"images": images})))
    return TestSet(found.suite, tuple(entries), found.missing)


def _for_prompts(entry: SetEntry, given: Mapping[str, int], source: str) -> dict[str, int]:
    """Return the entry's seeds with the given ones in their place; UserError for what is none of its prompts."""
    known = entry.plan.images
    for name in given:
        if name not in known:
            raise UserError(f"{source}: {entry.label} has no prompt {name!r}{nearest(name, known)}; "
                            f"it has {len(known)}, such as {min(known)!r}")
    if kept := [name for name in known if name not in given]:
        print(f"{source} has no seeds for {len(kept)} of {len(known)} prompts of {entry.label}, which keep theirs: "
              f"{', '.join(map(repr, kept[:3]))}{', ...' if kept[3:] else ''}", file=sys.stderr)
    return {**known, **given}


def _from_file(path: Path, found: TestSet) -> dict[str, dict[str, int]]:
    """Read {name: seed}, {"00": {name: seed}}, or a whole seeds.json."""
    content = read_json(path, "seed list")
    if "styles" in content:
        return {number: dict(plan.images) for number, plan in read_seeds(path).styles.items()}
    nested = content if all(isinstance(value, dict) for value in content.values()) else \
        dict.fromkeys((entry.number for entry in found.entries), content)
    if not all(nested.values()):
        raise UserError(f"{path} names no image")
    return {number: {name: check_seed(images[name]) for name in image_names(images)}
            for number, images in nested.items()}

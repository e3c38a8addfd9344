"""One generator named by a person: a run folder, a released style, a style of a suite, a weight file, or demo:<name>."""
from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from jittor_ipl.adaptation.render import Recipe
from jittor_ipl.disk.layout import SEEDS
from jittor_ipl.disk.names import seed_name
from jittor_ipl.errors import UserError
from jittor_ipl.runtime.streams import parse_seeds
from jittor_ipl.submission.records import StyleSeeds
from jittor_ipl.submission.sets import Entry, choose, open_set
from jittor_ipl.weights.refs import resolve, split_place


def open_one(ref: str, seeds: str, *, style: str | None = None, source: str | None = None,
             truncation: float | None = None, noise: str | None = None) -> Entry:
    """Return the entry that makes the `seeds` ("0,1,5-10") with the generator `ref`, named by seed.

    `truncation` and `noise` replace the style's recipe. Raises UserError when `ref` names nothing or several styles.
    """
    images = {seed_name(seed): seed for seed in parse_seeds(seeds)}
    entry = _in_folder(Path(ref), style) if Path(ref).is_dir() else _file(ref, source)
    changes = {key: value for key, value in (("truncation", truncation), ("noise", noise)) if value is not None}
    if not -2 <= changes.get("truncation", 0) <= 2:
        raise UserError(f"truncation {truncation} is out of range; choose -2 to 2")
    recipe = entry.plan.recipe.model_copy(update=changes)
    plan = entry.plan.model_copy(update={"recipe": recipe, "images": images})
    return replace(entry, plan=plan)


def _in_folder(folder: Path, style: str | None) -> Entry:
    if style is None and (folder.parent / SEEDS).is_file():  # B_weight/<suite>/<NN>
        return choose(open_set(folder.parent), [folder.resolve().name]).entries[0]
    entries = choose(open_set(folder), [style] if style else []).entries
    if len(entries) != 1:
        raise UserError(f"{folder} holds {len(entries)} styles: choose one with --style, of "
                        + ", ".join(entry.plan.style for entry in entries))
    return entries[0]


def _file(ref: str, source: str | None) -> Entry:
    path = resolve(ref)
    plan = StyleSeeds(style=path.stem, source=source or ref, recipe=Recipe(), images={"placeholder": 0})
    return Entry("00", plan, path, is_delta=source is not None, place=split_place(ref)[1])

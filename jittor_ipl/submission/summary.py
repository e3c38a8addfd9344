"""What a finished suite looks like: a table of its styles and a contact sheet, the source above the targets."""
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jittor_ipl.config import StyleRun
from jittor_ipl.disk.atomic import write_bytes
from jittor_ipl.disk.integrity import read_sealed
from jittor_ipl.disk.layout import REPORT, SEEDS
from jittor_ipl.disk.names import SUFFIX
from jittor_ipl.disk.small_files import read_json
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import load_image
from jittor_ipl.images.pixels import from_uint8
from jittor_ipl.images.sheets import contact_sheet, encode_sheet, shrunk
from jittor_ipl.submission.produce import source_of
from jittor_ipl.submission.records import StyleSeeds, read_seeds

SHOWN = 8          # pictures per style on the sheet
LARGEST_TILE = 128  # pixels; larger pictures are shrunk for the sheet
NONE = "-"


@dataclass(frozen=True)
class Row:
    """One line of the table; None is shown as `-`."""

    style: str
    seconds: float | None = None
    similarity: float | None = None   # CLIP direction similarity, -1..1
    judge: float | None = None        # part of the pictures that the judge takes for the style, 0..1
    reproducible: bool | None = None
    note: str = ""

    def cells(self) -> list[str]:
        """Return the line's texts."""
        def shown(value: float | None, form: str) -> str:
            return NONE if value is None else form.format(value)
        return [self.style, shown(self.seconds, "{:.0f}"), shown(self.similarity, "{:.3f}"),
                shown(self.judge, "{:.0%}"), answer(self.reproducible), self.note]


def rows(runs: Sequence[StyleRun], folder: Path, results: Path, verified: Path | None) -> list[Row]:
    """Return one row per style from its report, its pictures in `results` and the JSON that `test.py --json` wrote."""
    reproducible = reproducible_in(verified)
    plans = read_seeds(results / SEEDS).styles if (results / SEEDS).is_file() else {}
    lines = []
    for run in runs:
        number = f"{run.number:02d}"
        plan = plans.get(number)
        try:
            report = read_sealed(folder / run.folder / REPORT, "report")
        except UserError:
            lines.append(Row(run.style, note="not finished"))
            continue
        seconds = sum(report.get(key, 0.0) for key in ("seconds_mapper", "seconds_generator"))
        judged = judge_share(run.style, plan.source, pictures_of(results / number, plan)) if plan else None
        lines.append(Row(run.style, seconds, report.get("direction_similarity"), judged,
                         reproducible.get((run.suite, number))))
    return lines


def judge_share(style: str, source: str, pictures: Sequence[np.ndarray]) -> float | None:
    """Return the part of pictures uint8 [64, 64, 3] that the judge of the demo generator `source` sees in `style`.

    None without such a judge.
    """
    try:
        from jittor_ipl.weights.refs import resolve
        from jittor_ipl.world.judging import judge, measure
        from jittor_ipl.world.subjects import subject_of
        subject = subject_of(source)
        resolve(f"demo:{subject.prefix}judge")
    except (ImportError, UserError):  # other suites have no judge
        return None
    if style not in subject.styles or not pictures or pictures[0].shape[:2] != (64, 64):
        return None
    found = judge.load(f"{subject.prefix}judge").style(from_uint8(np.stack(pictures)))
    return measure.share_of(subject, style, found)


def pictures_of(folder: Path, plan: StyleSeeds, count: int | None = None) -> list[np.ndarray]:
    """Return the pictures of a plan that are in a results folder, uint8 [H, W, 3], the first `count`."""
    paths = [folder / f"{name}{SUFFIX}" for name in list(plan.images)[:count]]
    return [load_image(path) for path in paths if path.is_file()]


def table(found: Sequence[Row]) -> str:
    """Return the rows as aligned text with a heading; numbers stand right."""
    heading = ["style", "seconds", "CLIP direction", "judge", "reproducible", ""]
    return aligned([heading, *(row.cells() for row in found)], left=(0, 5))


def aligned(lines: Sequence[Sequence[str]], left: Sequence[int]) -> str:
    """Return lines of equally many cells as text in columns, those at `left` flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return "\n".join("  ".join(cell.ljust(w) if i in left else cell.rjust(w)
                               for i, (cell, w) in enumerate(zip(line, widths))).rstrip() for line in lines)


def reproducible_in(verified: Path | None) -> dict[tuple[str, str], bool]:
    """Return, by suite and style number, what `test.py --json` wrote of the pictures; {} without the file."""
    found = read_json(verified, "verification") if verified is not None and verified.is_file() else {}
    try:
        return {(suite, number): value for suite, told in found.items()
                for number, value in told["reproducible"].items()}
    except (AttributeError, KeyError, TypeError):
        raise UserError(f"{verified} is not what test.py --json writes") from None


def answer(reproducible: bool | None) -> str:
    """Return whether pictures are reproducible, in a word."""
    return NONE if reproducible is None else "yes" if reproducible else "no"


def write_sheet(path: Path, results: Path) -> None:
    """Write a results folder's contact sheet: the source's pictures of the first seeds, each style's below them."""
    from jittor_ipl.adaptation.render import render
    styles = sorted(read_seeds(results / SEEDS).styles.items())
    _, first = styles[0]
    lines = [("source", list(render(source_of(first.source), list(first.images.values())[:SHOWN], first.recipe)))]
    lines += [(plan.style, pictures_of(results / number, plan, SHOWN)) for number, plan in styles]
    tiles = [(label, [shrunk(picture, LARGEST_TILE) for picture in pictures]) for label, pictures in lines if pictures]
    write_bytes(path, encode_sheet(contact_sheet(tiles)))


def to_json(found: Sequence[object]) -> str:
    """Return the rows as JSON, for programs."""
    return json.dumps([vars(row) for row in found], indent=1, ensure_ascii=False)

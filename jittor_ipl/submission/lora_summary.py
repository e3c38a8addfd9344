"""What a finished suite of LoRA looks like: a table of every style beside the base model, and a contact sheet."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jittor_ipl.config import LoraRun
from jittor_ipl.disk.atomic import write_bytes
from jittor_ipl.disk.integrity import read_sealed
from jittor_ipl.disk.layout import REPORT, SEEDS
from jittor_ipl.disk.names import SUFFIX
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import list_images, load_image
from jittor_ipl.images.pixels import from_uint8
from jittor_ipl.images.sheets import contact_sheet, encode_sheet, shrunk
from jittor_ipl.metrics import competition
from jittor_ipl.submission.candidates import Scorers
from jittor_ipl.submission.demo_data import DEMO, data_folder
from jittor_ipl.submission.records import read_seeds
from jittor_ipl.submission.summary import LARGEST_TILE, NONE, SHOWN, aligned, answer, reproducible_in

COLUMNS = ("judge", "structure", "said", "hist", "score")       # see `figures_of`


@dataclass(frozen=True)
class LoraRow:
    """One line of the table: a style's LoRA, or the base model told of the style; what is not known is left out."""

    style: str
    model: str
    figures: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    reproducible: bool | None = None
    note: str = ""

    def cells(self) -> list[str]:
        """Return the line's texts."""
        shares = [f"{self.figures[name]:.0%}" if name in self.figures else NONE for name in COLUMNS[:3]]
        scores = [f"{self.figures[name]:.3f}" if name in self.figures else NONE for name in COLUMNS[3:]]
        seconds = NONE if self.seconds is None else f"{self.seconds:.0f}"
        return [self.style, self.model, seconds, *shares, *scores, answer(self.reproducible), self.note]


def lora_rows(runs: Sequence[LoraRun], folder: Path, results: Path, verified: Path | None) -> list[LoraRow]:
    """Return two rows per style, LoRA and base model, from reports, pictures and what `test.py --json` wrote."""
    reproducible = reproducible_in(verified)
    base, lines = results.with_name(f"{results.name}-base"), []
    scorers = scorers_of(runs)
    for run in runs:
        number = f"{run.number:02d}"
        try:
            report = read_sealed(folder / run.folder / REPORT, "report")
        except UserError:
            lines.append(LoraRow(run.style, "LoRA", note="not finished"))
            continue
        lines.append(LoraRow(run.style, "LoRA", figures_of(run, results / number, scorers), report["seconds"],
                             reproducible.get((run.suite, number))))
        if run.base_caption is not None:
            lines.append(LoraRow(run.style, "base", figures_of(run, base / number, scorers)))
    return lines


def scorers_of(runs: Sequence[LoraRun]) -> Scorers:
    """Return what scores without a download: the demo world's networks for its own set, histograms for any."""
    if not runs or runs[0].data != DEMO:
        return {"hist": ()}
    from jittor_ipl.world.competition import prompts_of
    from jittor_ipl.world.judging.stand_ins import demo_scorers
    return demo_scorers([prompt for run in runs for prompt in prompts_of(run.number)])


def figures_of(run: LoraRun, pictures: Path, scorers: Scorers) -> dict[str, float]:
    """Return what can be said of a style's pictures in a folder; {} without any.

    judge, structure   share of the pictures that the demo judges of colours and of contours see in the style
    said               share of the prompts' attributes that the colour judge sees
    hist, score        the competition's score of this style alone and its part of histograms; of the whole one
                       CLIP-IQA counts 0 where the demo world's networks stand in
    """
    try:
        style = competition.Style(run.style, tuple(list_images(pictures)),
                                  tuple(list_images(data_folder(run.data) / f"{run.number:02d}" / "images")))
    except UserError:
        return {}
    parts = {part: getattr(competition, part)([style], *needed) for part, needed in scorers.items()}
    found = {"hist": parts["hist"]}
    if set(competition.PARTS) - {"clip_iqa"} <= set(parts):
        found["score"] = competition.total({"clip_iqa": 0.0, **parts})
    return {**found, **(_judged(run, style.images) if run.data == DEMO else {})}


def _judged(run: LoraRun, paths: Sequence[Path]) -> dict[str, float]:
    from jittor_ipl.world.competition import said_by
    from jittor_ipl.world.judging import judge, measure
    from jittor_ipl.world.subjects import PORTRAITS
    images = np.stack([from_uint8(load_image(path)) for path in paths])
    if run.style not in PORTRAITS.styles or images.shape[2:] != (64, 64):
        return {}
    seen, structure = judge.load("judge").predict(images), judge.load("judge-structure").style(images)
    meant = [(labels, said) for labels, path in zip(seen[:, 1:], paths) if (said := said_by(path.stem)) is not None]
    agree = [label == word for labels, said in meant for label, word in zip(labels, said) if word >= 0]
    return {"judge": measure.share_of(PORTRAITS, run.style, seen[:, 0]),
            "structure": measure.share_of(PORTRAITS, run.style, structure),
            **({"said": float(np.mean(agree))} if agree else {})}


def lora_table(found: Sequence[LoraRow]) -> str:
    """Return the rows as aligned text with a heading; numbers stand right."""
    heading = ["style", "model", "seconds", "judge", "structure", "said", "Hist", "score", "reproducible", ""]
    return aligned([heading, *(row.cells() for row in found)], left=(0, 1, 9))


def write_lora_sheet(path: Path, runs: Sequence[LoraRun], results: Path) -> None:
    """Write a contact sheet: of every style the pictures that taught it, the base model's and the LoRA's.

    Raises UserError when no LoRA has a picture, or one does not load.
    """
    plans, base, lines = read_seeds(results / SEEDS).styles, results.with_name(f"{results.name}-base"), []
    for run in runs:
        number = f"{run.number:02d}"
        if number not in plans:
            continue
        names = list(plans[number].images)[:SHOWN]
        taught = list_images(data_folder(run.data) / number / "images")[:SHOWN]
        for label, paths in ((f"{run.style}, given", taught),
                             ("base", [base / number / f"{name}{SUFFIX}" for name in names]),
                             ("LoRA", [results / number / f"{name}{SUFFIX}" for name in names])):
            lines.append((label, [load_image(file) for file in paths if file.is_file()]))
    sides = [picture.shape[0] for label, pictures in lines for picture in pictures if label == "LoRA"]
    if not sides:
        raise UserError(f"no contact sheet: {results} holds no picture of {', '.join(run.style for run in runs)}; "
                        "make them with run_all.py first")
    side = min(LARGEST_TILE, max(sides))
    tiles = [(label, [_tile(picture, side) for picture in pictures]) for label, pictures in lines if pictures]
    write_bytes(path, encode_sheet(contact_sheet(tiles)))


def _tile(picture: np.ndarray, side: int) -> np.ndarray:
    """Return a picture within a square of `side` pixels, the rest white: given pictures have any shape."""
    small = shrunk(picture, side)
    tile = np.full((side, side, 3), 255, np.uint8)
    tile[:small.shape[0], :small.shape[1]] = small
    return tile

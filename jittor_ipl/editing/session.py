"""One edit of some faces: every strength and threshold, in one generator or side by side in several, as files."""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jittor_ipl.disk.atomic import output_folder, write_bytes, write_json
from jittor_ipl.disk.names import SUFFIX
from jittor_ipl.editing.codes import Faces
from jittor_ipl.editing.dictionary import Dictionary
from jittor_ipl.editing.direction import Step, automatic_beta, moved, relevances, step_of, without
from jittor_ipl.editing.drawing import draw
from jittor_ipl.editing.fast import FoundEdit
from jittor_ipl.editing.results import RECORD, SHEET, save_codes
from jittor_ipl.editing.statistics import StyleStatistics
from jittor_ipl.editing.strength import automatic_alpha
from jittor_ipl.images.files import encode_png
from jittor_ipl.images.sheets import contact_sheet, shrunk
from jittor_ipl.models.clip.model import Clip
from jittor_ipl.models.stylegan2.generator import Generator

CODES = "codes.safetensors"
_TILE, _SHEET_TILES = 256, 4000       # a sheet's pictures have at most so many pixels a side, and there are so many


@dataclass(frozen=True)
class Edit:
    """Words and what they are looked up in.

    text    unit direction [d] from `neutral` to `target`; `kept` those of words that are not to change along with it
    """

    dictionary: Dictionary
    statistics: StyleStatistics
    clips: Sequence[Clip]
    text: np.ndarray
    kept: Sequence[np.ndarray]
    neutral: str
    target: str

    def steps(self, size: int, betas: Sequence[float] | None) -> list[Step]:
        """Return the step of every threshold, of the automatic one when `betas` is None; UserError for a zero step."""
        found = without(self.dictionary, relevances(self.dictionary, self.text), self.kept)
        betas = [automatic_beta(self.dictionary, found, size)] if betas is None else betas
        return [step_of(self.dictionary, self.statistics, found, beta) for beta in betas]

    def alpha(self, generator: Generator, step: Step) -> float:
        """Return the strength with which CLIP sees the target in most faces; see `automatic_alpha`."""
        return automatic_alpha(generator, self.clips, step, self.text)


def write_edit(folder: Path, edit: Edit | FoundEdit, faces: Faces, generators: Mapping[str, Generator],
               alphas: Sequence[float] | None, betas: Sequence[float] | None, batch: int = 8) -> Iterator[str]:
    """Write the pictures of faces under every threshold and strength, a sheet of them and a record; yield what is told.

    generators: by name, those that draw each face; the faces' own first. alphas None: the automatic one.
    """
    steps = edit.steps(faces.generator.size, betas)
    strengths = [[edit.alpha(faces.generator, step)] if alphas is None else alphas for step in steps]
    in_each = {name: faces.in_generator(generator) for name, generator in generators.items()}
    folder, tiles, headings = output_folder(folder), {}, {}
    for name, generator in generators.items():
        where = "" if generator is faces.generator else f"_{name.replace(' ', '-')}"
        for label, styles in _variants(in_each[name], steps, strengths):
            headings[label] = label.strip("_").replace("_", " ") or "before"
            for face, image in zip(faces.names, draw(generator, styles, at_once=batch)):
                write_bytes(folder / f"{face}{where}{label}{SUFFIX}",
                            encode_png(image, {"neutral": edit.neutral, "target": edit.target}))
                tiles.setdefault((face, name), []).append(image)
    if len(steps) == len(strengths[0]) == 1:
        edited = moved(faces.styles, steps[0], strengths[0][0])
        save_codes(folder / CODES, faces, edited)
    write_json(folder / RECORD, _record(edit, faces, steps, strengths))
    yield from _told(steps, strengths, alphas is None)
    if sum(map(len, tiles.values())) <= _SHEET_TILES:
        rows = [(face if len(generators) == 1 else f"{face} {name}", [shrunk(tile, _TILE) for tile in row])
                for (face, name), row in sorted(tiles.items(), key=lambda item: faces.names.index(item[0][0]))]
        write_bytes(folder / SHEET, encode_png(contact_sheet(rows, headings=list(headings.values()))))
    yield f"{sum(map(len, tiles.values()))} pictures of {len(faces.names)} faces -> {folder}"


def _variants(styles: Sequence[np.ndarray], steps: Sequence[Step],
              strengths: Sequence[Sequence[float]]) -> Iterator[tuple[str, Sequence[np.ndarray]]]:
    """Yield what stands in the name of a file, and the S codes: the faces as they are, then every edit of them."""
    yield "", styles
    for step, alphas in zip(steps, strengths):
        beta = f"_b{step.beta:g}" if len(steps) > 1 else ""
        for alpha in alphas:
            yield f"{beta}_{alpha:+g}", moved(styles, step, alpha)


def _record(edit: Edit | FoundEdit, faces: Faces, steps: Sequence[Step], strengths: Sequence[Sequence[float]]) -> dict:
    return {"neutral": edit.neutral, "target": edit.target, "faces": list(faces.names),
            "dictionary": {"file": edit.dictionary.label,
                           **{key: edit.dictionary.facts[key] for key in ("way", "generator_sha256", "clips", "faces")
                              if key in edit.dictionary.facts}},
            "edits": [{"beta": round(float(step.beta), 4), "channels": step.channels, "alpha": alpha}
                      for step, alphas in zip(steps, strengths) for alpha in alphas]}


def _told(steps: Sequence[Step], strengths: Sequence[Sequence[float]], automatic: bool) -> Iterator[str]:
    for step, alphas in zip(steps, strengths):
        chosen = f"; strength {alphas[0]:g}" if automatic else ""
        yield f"beta {step.beta:g}: {step.channels} channels move{chosen}"

"""Draw the pictures on the two cards of the web page's home: python scripts/web_page_pictures.py

Portraits: two seeds in the source and in five released styles. Pets: four seeds in the source and in two of the
released styles each. WebP, 64 px a picture.
"""
from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jittor_ipl.adaptation.render import Recipe, render
from jittor_ipl.submission.produce import load, source_of
from jittor_ipl.submission.sets import open_set

FOLDER = Path(__file__).resolve().parents[1] / "jittor_ipl" / "webui" / "pages" / "static"
STYLES = ("disney", "ukiyo-e", "tolkien elf", "pointillism", "cubism")
PORTRAITS, PETS = (9, 6), ((2, 6), (4, 12))        # row by row
PET_STYLES = (("cartoon", "pointillism"), ("cubism", "cartoon"))    # of the left and the right half


def main() -> None:
    """Write both files."""
    columns = drawn("demo", STYLES, PORTRAITS)
    save("portraits", [row for row in zip(*columns)])
    halves = [drawn("demo_pets", styles, seeds) for styles, seeds in zip(PET_STYLES, zip(*PETS))]
    save("pets", [row for row in zip(*halves[0], *halves[1])])


def drawn(suite: str, styles: Sequence[str], seeds: Sequence[int]) -> list:
    """Return the seeds' pictures by a suite's source, and by each of these styles."""
    entries = {entry.plan.style: entry for entry in open_set(Path("B_weight") / suite).entries}
    source = source_of(next(iter(entries.values())).plan.source)
    return [list(render(generator, seeds, Recipe(truncation=0.7), batch=1))
            for generator in (source, *(load(entries[style]) for style in styles))]


def save(name: str, rows: list) -> None:
    """Write rows of pictures side by side."""
    Image.fromarray(np.concatenate([np.concatenate(row, 1) for row in rows])).save(FOLDER / f"{name}.webp", quality=88)


if __name__ == "__main__":
    main()

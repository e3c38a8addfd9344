"""Draw the pictures on the two cards of the web page's home: python scripts/web_page_pictures.py

Portraits: two seeds in the source and in five released styles. Pets: twelve seeds. WebP, 64 px a picture.
"""
from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from jittor_ipl.adaptation.render import Recipe, render
from jittor_ipl.submission.produce import load, source_of
from jittor_ipl.submission.sets import open_set

FOLDER = Path(__file__).resolve().parents[1] / "jittor_ipl" / "webui" / "pages" / "static"
STYLES = ("disney", "ukiyo-e", "tolkien elf", "pointillism", "cubism")
PORTRAITS, PETS = (9, 6), range(2, 14)


def main() -> None:
    """Write both files."""
    entries = {entry.plan.style: entry for entry in open_set(Path("B_weight/demo")).entries}
    generators = [source_of("demo:generator"), *(load(entries[style]) for style in STYLES)]
    columns = [list(render(generator, PORTRAITS, Recipe(truncation=0.7), batch=1)) for generator in generators]
    save("portraits", [row for row in zip(*columns)])
    pets = list(render(source_of("demo:pets-generator"), PETS, Recipe(truncation=0.7), batch=1))
    save("pets", [pets[:6], pets[6:]])


def save(name: str, rows: list) -> None:
    """Write rows of pictures side by side."""
    Image.fromarray(np.concatenate([np.concatenate(row, 1) for row in rows])).save(FOLDER / f"{name}.webp", quality=88)


if __name__ == "__main__":
    main()

"""Contact sheets: the same latents under the source, every method and the true renderer, from the cells' strips."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jittor_ipl.benchmark.plan import Cell
from jittor_ipl.benchmark.settings import Benchmark
from jittor_ipl.disk.atomic import write_bytes
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import load_image
from jittor_ipl.images.sheets import contact_sheet, encode_sheet

SMALL_BYTES = 300_000       # of the sheet in docs/
_HEADER = 18                # pixels of a line of text


def write_sheets(benchmark: Benchmark, cells: Sequence[Cell], folder: Path) -> None:
    """Write one sheet a style into `folder`: the first training seed's pictures, a row for each method that is done."""
    for style in benchmark.styles():
        if rows := _rows(benchmark, cells, style, benchmark.sheet.columns):
            write_bytes(folder / f"{style.replace(' ', '-')}.png", encode_sheet(contact_sheet(rows)))


def write_small(benchmark: Benchmark, cells: Sequence[Cell], path: Path) -> Path | None:
    """Write the chosen styles side by side in at most 300 KB (256 colours, fewer columns until it fits).

    Only chosen methods that are done in every chosen style have a row; None where none is.
    """
    styles = benchmark.sheet.styles or benchmark.styles()
    for columns in range(4, 0, -1):
        rows = {style: dict(_rows(benchmark, cells, style, columns)) for style in styles}
        labels = [label for label in _labels(benchmark, benchmark.sheet.methods)
                  if all(label in rows[style] for style in styles)]
        if not labels:
            return None
        sheet = contact_sheet([(label, [tile for style in styles for tile in rows[style][label]]) for label in labels])
        data = encode_sheet(_headed(sheet, styles, columns * (rows[styles[0]][labels[0]][0].shape[1] + 2)))
        if len(data) <= SMALL_BYTES:
            break
    return write_bytes(path, data)


def _rows(benchmark: Benchmark, cells: Sequence[Cell], style: str, columns: int) -> list[tuple[str, list[np.ndarray]]]:
    seeds = None, benchmark.seeds[0]
    shown = {cell.method: cell for cell in cells if cell.place.style == style and cell.seed in seeds}
    rows = []
    for method, label in zip(("source", *benchmark.methods, "truth"), _labels(benchmark)):
        if method in shown and shown[method].record() is not None:
            try:
                picture = load_image(shown[method].strip)
            except UserError:       # removed or damaged: a sheet with one row less
                continue
            side, width = picture.shape[:2]
            rows.append((label, [picture[:, i:i + side] for i in range(0, min(columns * side, width), side)]))
    return rows


def _labels(benchmark: Benchmark, methods: Sequence[str] = ()) -> list[str]:
    chosen = [method.title or name for name, method in benchmark.methods.items() if not methods or name in methods]
    return ["source", *chosen, "true render"]


def _headed(sheet: np.ndarray, styles: Sequence[str], width: int) -> np.ndarray:
    """Put the names of the styles over their columns."""
    header = Image.new("RGB", (sheet.shape[1], _HEADER), (255, 255, 255))
    draw = ImageDraw.Draw(header)
    start, font = sheet.shape[1] - len(styles) * width, ImageFont.load_default(13)
    for index, style in enumerate(styles):
        draw.text((start + index * width, _HEADER // 2), style, fill=(0, 0, 0), font=font, anchor="lm")
    return np.concatenate([np.asarray(header), sheet])

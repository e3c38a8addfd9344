#!/usr/bin/env python
"""Adapt the demo's generator to five styles that its teacher never saw, from five pictures each, and measure them.

    python scripts/few_shot.py                                           # pictures, runs and the table
    python scripts/few_shot.py --seed 12 --set seed=3 --runs runs/few_shot-12
    python scripts/few_shot.py --write docs/few_shot.md --sheet docs/few-shot-sheet.png

The pictures lie in data/few_shot/<seed>; finished runs are kept. The truth is what the renderer makes of the same
latents in the style.
"""
import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

PICTURES = 5
FIRST, COUNT, SHOWN = 6_000_000, 128, 6     # seeds that are measured, and how many are shown
NEEDED = .45                                # of the way
COLUMNS = {"way": "way", "psnr": "PSNR, dB", "before": "source, dB", "sharp": "sharpness", "pairs": "way of the pairs",
           "seconds": "seconds"}


def main() -> None:
    """Draw, adapt, measure; print the table, and write it and the sheet where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="few_shot", help="the suite")
    parser.add_argument("--seed", type=int, default=11, help="of the five pictures' faces")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a change of the suite")
    parser.add_argument("--only", default="", help="styles, separated by commas (default: all)")
    parser.add_argument("--runs", type=Path, default=Path("runs/few_shot"), help="folder of the runs")
    parser.add_argument("--write", type=Path, help="Markdown file whose table is replaced")
    parser.add_argument("--sheet", type=Path, help="PNG file for pictures, adapted and true faces")
    options = parser.parse_args()
    figures, rows = {}, []
    for run in runs_of(options):
        figures[run.style], tiles = adapted(run, options.runs / run.folder)
        rows += tiles
        print(run.style, {name: round(value, 3) for name, value in figures[run.style].items()}, flush=True)
    lines = table(figures)
    print("\n".join(lines))
    if options.write:
        write_table(options.write, lines)
    if options.sheet:
        from jittor_ipl.disk.atomic import write_bytes
        from jittor_ipl.images.sheets import contact_sheet, encode_sheet
        write_bytes(options.sheet, encode_sheet(contact_sheet(rows)))


def runs_of(options) -> list:
    """The suite's runs, each with the folder of its pictures, which are drawn if they are not there."""
    from jittor_ipl.config import choose_runs, load_suite, with_images
    suite = load_suite(options.config, options.set)
    chosen = [name.strip() for name in options.only.split(",") if name.strip()]
    root = Path("data/few_shot") / str(options.seed)
    return [with_images([run], str(pictures_of(root / run.style, run.style, options.seed)))[0]
            for run in choose_runs(suite, chosen)]


def pictures_of(folder: Path, style: str, seed: int) -> Path:
    """Draw five faces that differ in hair, and show every background, expression and gender; return their folder."""
    from jittor_ipl.images.files import save_png
    from jittor_ipl.runtime.streams import rng
    from jittor_ipl.world.subjects import PORTRAITS
    if folder.is_dir() and len(list(folder.iterdir())) == PICTURES:
        return folder
    number = PORTRAITS.styles.index(style)
    for step in range(100_000):
        faces = PORTRAITS.table.sample(rng(seed, "few-shot pictures", step, number), PICTURES)
        kinds = [len(set(faces[name])) for name in ("hair", "background", "expression", "gender")]
        if kinds == [5, 4, 3, 2]:
            break
    for index, picture in enumerate(np.moveaxis(PORTRAITS.render(faces, style), 1, -1)):
        save_png(folder / f"{index}.png", picture)
    return folder


def adapted(run, folder: Path) -> tuple[dict[str, float], list]:
    """The figures of a style and its rows of the sheet: the five pictures, adapted faces, true ones."""
    from jittor_ipl.adaptation.adapt import adapt_style
    from jittor_ipl.disk.layout import GENERATOR
    from jittor_ipl.images.files import list_images, load_image
    from jittor_ipl.images.pixels import to_uint8
    from jittor_ipl.runtime.streams import z_from_seeds
    from jittor_ipl.weights.generator import load_generator
    report = adapt_style(run, folder)
    source = load_generator(run.source.generator)
    z = z_from_seeds(range(FIRST, FIRST + COUNT), source.style_dim)
    true, before = rendered(z, run.style), drawn(source, z)
    after = drawn(load_generator(folder / GENERATOR), z)
    figures = {"way": way(after, true, before), "psnr": psnr(after, true), "before": psnr(before, true),
               "sharp": gradient(after) / gradient(true), "pairs": way_of_pairs(run, folder, source),
               "seconds": report.seconds}
    shown = [load_image(path) for path in list_images(run.style_images)]
    return figures, [(f"{run.style}: its pictures", shown), ("adapted", list(to_uint8(after[:SHOWN]))),
                     ("true", list(to_uint8(true[:SHOWN])))]


def way_of_pairs(run, folder: Path, source) -> float:
    """How far the teacher itself came, in the pictures that the generator learnt from."""
    from jittor_ipl.disk.layout import PAIRS
    from jittor_ipl.images.pixels import from_uint8
    from jittor_ipl.runtime.streams import rng
    from jittor_ipl.weights.containers.safetensors import read_safetensors
    parts = [read_safetensors(path)[0]["redrawn"] for path in sorted((folder / PAIRS).glob("*.safetensors"))]
    redrawn = np.stack([from_uint8(picture) for picture in np.concatenate(parts)[:COUNT]])
    z = rng(run.generator_seed, "teacher.z").standard_normal((run.teacher.pairs.count, source.style_dim), np.float32)
    z = z[:len(redrawn)]
    return way(redrawn, rendered(z, run.style), drawn(source, z))


def drawn(generator, z: np.ndarray) -> np.ndarray:
    """The generator's pictures of latents, float32 [N, 3, H, W] in [-1, 1]."""
    from jittor_ipl.models.stylegan2.pictures import pictures
    return np.clip(pictures(generator, z), -1, 1)


def rendered(z: np.ndarray, style: str) -> np.ndarray:
    """The true pictures of latents in a style."""
    from jittor_ipl.world.teaching.pool import build_from_latents, to_float
    return to_float(build_from_latents(z, style))


def way(made: np.ndarray, true: np.ndarray, before: np.ndarray) -> float:
    """The share of the mean absolute difference between source and truth that is gone."""
    return float(1 - np.abs(made - true).mean() / np.abs(before - true).mean())


def psnr(made: np.ndarray, true: np.ndarray) -> float:
    """The mean over pictures of the peak signal-to-noise ratio in dB."""
    return float(np.mean(10 * np.log10(4 / np.mean((made - true) ** 2, axis=(1, 2, 3)))))


def gradient(images: np.ndarray) -> float:
    """The mean difference between neighbouring pixels."""
    return float(np.abs(np.diff(images, axis=2)).mean() + np.abs(np.diff(images, axis=3)).mean())


def table(figures: dict[str, dict[str, float]]) -> list[str]:
    """The Markdown table, and how many styles come as far as they must."""
    lines = ["| style | " + " | ".join(COLUMNS.values()) + " |", "|---|" + "---:|" * len(COLUMNS)]
    means = {name: float(np.mean([values[name] for values in figures.values()])) for name in COLUMNS}
    for style, values in {**figures, "mean": means}.items():
        shown = [f"{values[n]:.0%}" if n in ("way", "sharp", "pairs") else
                 f"{values[n]:.0f}" if n == "seconds" else f"{values[n]:.1f}" for n in COLUMNS]
        lines.append(f"| {style} | " + " | ".join(shown) + " |")
    far = sum(values["way"] >= NEEDED for values in figures.values())
    return [*lines, "", f"{far} of {len(figures)} styles come at least {NEEDED:.0%} of the way."]


def write_table(path: Path, lines: list[str]) -> None:
    """Put the table between the marks of a Markdown file."""
    from jittor_ipl.disk.atomic import write_bytes
    start, end = "<!-- table -->\n", "<!-- /table -->"
    text = path.read_text() if path.exists() else f"# Few-shot\n\n{start}{end}\n"
    head, rest = text.split(start)
    write_bytes(path, f"{head}{start}{chr(10).join(lines)}\n{rest[rest.index(end):]}".encode())


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""Show the adapted demo generators beside the truth, at twice their size or --scale, and how the teacher gets there.

    python scripts/teacher_sheets.py docs/demo-sheet.png                     adapted pictures, below them the truth
    python scripts/teacher_sheets.py docs/pets-sheet.webp --weights B_weight/demo_pets --scale 1
    python scripts/teacher_sheets.py blind.png --blind 7                     adapted rows alone, shuffled, numbered
    python scripts/teacher_sheets.py docs/teacher-idea.png --runs runs/demo  source, redrawn, adapted, truth

Faces are of seeds that no training draws; with --runs the pairs of each run.
"""
import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SEEDS = range(2_000_000, 2_000_008)
SHOWN = ("tolkien elf", "werewolf", "wall painting", "cartoon")


def main() -> None:
    """Write the sheet to the path given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--weights", type=Path, default=Path("B_weight/demo"))
    parser.add_argument("--scale", type=int, default=2, help="times the pictures' own size")
    parser.add_argument("--blind", type=int, metavar="SEED", help="shuffle the styles by this seed, print the answers")
    parser.add_argument("--runs", type=Path, help="finished runs with their pairs: show the idea")
    options = parser.parse_args()
    from jittor_ipl.disk.atomic import write_bytes
    from jittor_ipl.images.sheets import contact_sheet, encode_sheet
    rows = idea(options.runs) if options.runs else blind(options) if options.blind is not None \
        else truth(options.weights)
    rows = [(name, larger(tiles, options.scale)) for name, tiles in rows]
    print(write_bytes(options.path, encode_sheet(contact_sheet(rows), options.path.suffix)))


def truth(weights: Path) -> list:
    """The source's row, and for each style the adapted generator's and the true renders'."""
    z, source, entries = read(weights)
    rows = [("source", drawn(source, z))]
    for entry, generator in entries:
        rows += [(entry.plan.style, drawn(generator, z)), ("truth", rendered(z, entry.plan.style, entry.plan.source))]
    return rows


def blind(options: argparse.Namespace) -> list:
    """The adapted rows in another order, with numbers for names."""
    z, _, entries = read(options.weights)
    order = np.random.default_rng(options.blind).permutation(len(entries))
    print("answers:", {int(place) + 1: entries[index][0].plan.style for place, index in enumerate(order)},
          file=sys.stderr)
    return [(str(place + 1), drawn(entries[index][1], z)) for place, index in enumerate(order)]


def idea(runs: Path) -> list:
    """For some styles the first pairs of a run: the source's pictures, redrawn, adapted, and the truth."""
    from jittor_ipl.adaptation.pairs import latents
    from jittor_ipl.config import load_run
    from jittor_ipl.disk.layout import CONFIG, GENERATOR, PAIRS
    from jittor_ipl.weights.containers.safetensors import read_safetensors
    from jittor_ipl.weights.generator import load_generator
    rows = []
    for folder in sorted(path.parent for path in runs.glob(f"*/{CONFIG}")):
        run = load_run(folder / CONFIG)
        if run.style not in SHOWN:
            continue
        z = latents(run.generator_seed, run.teacher.pairs, 128)[:len(SEEDS)]
        redrawn = read_safetensors(folder / PAIRS / "000000.safetensors")[0]["redrawn"][:len(SEEDS)]
        source = run.source.generator
        rows += [("source", drawn(load_generator(source), z)), ("teacher", list(redrawn)),
                 (run.style, drawn(load_generator(folder / GENERATOR), z)), ("truth", rendered(z, run.style, source))]
    return rows


def read(weights: Path) -> tuple:
    """Latents of `SEEDS`, the source generator, and (entry, generator) of a set of weights."""
    from jittor_ipl.runtime.streams import z_from_seeds
    from jittor_ipl.submission.produce import load, source_of
    from jittor_ipl.submission.sets import open_set
    entries = open_set(weights).entries
    source = source_of(entries[0].plan.source)
    return (z_from_seeds(SEEDS, source.style_dim), source, [(entry, load(entry)) for entry in entries])


def drawn(generator, z: np.ndarray) -> list:
    """The generator's pictures of latents z, untruncated."""
    from jittor_ipl.images.pixels import to_uint8
    from jittor_ipl.models.stylegan2.pictures import pictures
    return list(to_uint8(np.clip(pictures(generator, z), -1, 1)))


def rendered(z: np.ndarray, style: str, source: str) -> list:
    """The renderer's pictures of what latents z of the generator `source` stand for."""
    from jittor_ipl.world.subjects import subject_of
    subject = subject_of(source)
    return list(np.moveaxis(subject.render(subject.table.from_latent(z), style), 1, -1))


def larger(tiles: list, scale: int) -> list:
    """Tiles at `scale` times their size, smooth."""
    from PIL import Image
    side = tiles[0].shape[0] * scale
    return [np.asarray(Image.fromarray(tile).resize((side, side), Image.Resampling.BICUBIC)) for tile in tiles]


if __name__ == "__main__":
    main()

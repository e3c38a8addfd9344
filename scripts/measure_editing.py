#!/usr/bin/env python
"""Measure edits by words on the demo world with the independent judge, on faces of seeds that no trial used.

    python scripts/measure_editing.py                              # six prompts, 200 faces, the shipped dictionary
    python scripts/measure_editing.py --first-seed 3500000         # on other faces; docs/editing.md has this table
    python scripts/measure_editing.py --direction-path d/directions.safetensors --stat-path d/statistics.safetensors
    python scripts/measure_editing.py --sheet docs/editing-sheet.png

reached  share of faces that the judge sees with the wanted attribute after the edit
kept     share of all other attributes that the judge sees as before the edit; those that a word itself implies (a
         girl's face has no beard in this world, a boy's may) are counted apart
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

FIRST_SEED = 2_000_000          # tuning looked at those from 4,000,000 on
GENERATOR, CLIP = "demo:generator", "demo:clip-local"
# Target: the neutral words, the attribute and the value that are wanted, and what the words imply besides. The demo's
# CLIP reads "gold" and "curl" as "blond" and "curly" (text/synonyms.py).
PROMPTS = {
    "boy face": ("face", "gender", "boy", ("beard",)),
    "happy face": ("face", "expression", "happy", ()),
    "angry face": ("face", "expression", "angry", ()),
    "face with long hair": ("face", "length", "long", ()),
    "face with curly hair": ("face", "curl", "curly", ()),
    "face with blond hair": ("face", "hair", "blond", ()),
}
STRIP = (-1, 0, 1, 2, 3, 4, 5)


def main() -> None:
    """Print one line a prompt and truncation; write the table and the sheet of strips where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--truncation", type=float, nargs="+", default=[1.0, .7])
    parser.add_argument("--beta", type=float, help="threshold [default: the automatic one]")
    parser.add_argument("--alpha", type=float, help="strength [default: the automatic one]")
    parser.add_argument("--direction-path", help="dictionary [default: the shipped one]")
    parser.add_argument("--stat-path", help="its statistics")
    parser.add_argument("--only", nargs="+", choices=PROMPTS, metavar="TARGET", help="only these prompts")
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to")
    parser.add_argument("--sheet", type=Path, help="PNG file to draw strips to, in place of measuring")
    parser.add_argument("--face", type=int, nargs="+", default=[2001567, 2000083], help="seeds of their faces")
    options = parser.parse_args()
    world = World(options.direction_path, options.stat_path)
    targets = options.only or list(PROMPTS)
    if options.sheet:
        return world.sheet(options.sheet, targets, options.beta, options.face)
    edits = {target: world.step(target, options.beta, options.alpha) for target in targets}
    lines = ["| target | channels | alpha | truncation | before | reached | kept | kept, implied aside | least kept |",
             "|---|---:|---:|---:|---:|---:|---:|---:|---|"]
    for truncation in options.truncation:
        faces = world.faces(range(options.first_seed, options.first_seed + options.faces), truncation)
        for target, (step, alpha) in edits.items():
            lines.append(world.row(target, step, alpha, faces, truncation))
            print(lines[-1], flush=True)
    if options.write:
        from jittor_ipl.disk.atomic import write_bytes
        write_bytes(options.write, ("\n".join(lines) + "\n").encode())


def cells_of(target: str, values: Mapping[str, Sequence[str]], before: np.ndarray, after: np.ndarray) -> list[str]:
    """Return the cells "before", "reached", "kept", "kept, implied aside" and "least kept" of a target's row.

    values: of every attribute, as labels [faces, attributes] of faces before and after the edit count them.
    """
    _, attribute, value, implied = PROMPTS[target]
    names = list(values)
    column, wanted = names.index(attribute), values[attribute].index(value)
    kept = {name: float((before[:, i] == after[:, i]).mean()) for i, name in enumerate(names) if i != column}
    free = [share for name, share in kept.items() if name not in implied]
    least = ", ".join(f"{name} {share:.0%}" for name, share in sorted(kept.items(), key=lambda one: one[1])[:2])
    shares = [(labels[:, column] == wanted).mean() for labels in (before, after)]
    of_all, of_free = np.mean(list(kept.values())), np.mean(free)
    return [f"{shares[0]:.0%}", f"{shares[1]:.1%}", f"{of_all:.1%}", f"{of_free:.1%}", least]


class World:
    """The demo generator, its CLIP, the dictionary, and the judge that no part of it ever sees."""

    def __init__(self, direction_path: str | None, stat_path: str | None) -> None:
        from jittor_ipl.editing.finding import find
        from jittor_ipl.weights.clip import load_clip
        from jittor_ipl.weights.generator import load_generator
        from jittor_ipl.world.judging.judge import load
        from jittor_ipl.world.subjects import PORTRAITS
        self.generator, self.clips, self.judge = load_generator(GENERATOR), [load_clip(CLIP)], load("judge")
        self.values = PORTRAITS.table.values
        self.dictionary, self.statistics = find([self.generator], (CLIP,), direction_path, stat_path)
        self.center = self.generator.center(4096, 2)
        self._before: dict[float, np.ndarray] = {}

    def step(self, target: str, beta: float | None, alpha: float | None) -> tuple:
        """Return the step of a target and its strength, as `edit direction` finds them."""
        from jittor_ipl.editing.session import Edit
        from jittor_ipl.editing.words import text_direction
        neutral = PROMPTS[target][0]
        text = text_direction(self.clips, neutral, target)
        edit = Edit(self.dictionary, self.statistics, self.clips, text, (), neutral, target)
        step = edit.steps(self.generator.size, None if beta is None else [beta])[0]
        return step, edit.alpha(self.generator, step) if alpha is None else alpha

    def faces(self, seeds: Sequence[int], truncation: float):
        from jittor_ipl.editing.codes import faces_of_seeds
        return faces_of_seeds(self.generator, seeds, truncation, self.center)

    def seen(self, styles: Sequence[np.ndarray]) -> np.ndarray:
        """Return the judge's attribute labels [N, attributes] of the pictures of S codes, as 8 bits hold them."""
        from jittor_ipl.editing.drawing import draw
        from jittor_ipl.images.pixels import from_uint8
        return self.judge.attributes(from_uint8(np.stack(list(draw(self.generator, styles, at_once=32)))))

    def before(self, faces, truncation: float) -> np.ndarray:
        """Return what the judge sees in the faces as they are, once for all targets."""
        if truncation not in self._before:
            self._before[truncation] = self.seen(faces.styles)
        return self._before[truncation]

    def row(self, target: str, step, alpha: float, faces, truncation: float) -> str:
        """Return one row of the table."""
        from jittor_ipl.editing.direction import moved
        before, after = self.before(faces, truncation), self.seen(moved(faces.styles, step, alpha))
        cells = [target, step.channels, f"{alpha:g}", f"{truncation:g}", *cells_of(target, self.values, before, after)]
        return f"| {' | '.join(map(str, cells))} |"

    def sheet(self, path: Path, targets: Sequence[str], beta: float | None, seeds: Sequence[int]) -> None:
        """Draw a strip of every target and face under the strengths of the PaddleGAN page."""
        from jittor_ipl.disk.atomic import write_bytes
        from jittor_ipl.editing.direction import moved
        from jittor_ipl.editing.drawing import draw
        from jittor_ipl.images.sheets import contact_sheet, encode_sheet
        faces, rows = self.faces(seeds, .7), []
        for target in targets:
            step, _ = self.step(target, beta, alpha=1)
            strips = [list(draw(self.generator, moved(faces.styles, step, alpha))) for alpha in STRIP]
            rows += [(target if i == 0 else " ", [tiles[i] for tiles in strips]) for i in range(len(seeds))]
        write_bytes(path, encode_sheet(contact_sheet(rows)))


if __name__ == "__main__":
    main()

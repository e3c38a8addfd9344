#!/usr/bin/env python
"""Measure the other three editors on the demo world by the judge, as scripts/measure_editing.py does global directions.

    python scripts/measure_single_edits.py                          # fast, mapper, mapper-s, optimize, optimize-s
    python scripts/measure_single_edits.py --methods fast --faces 200 --write figures.md --sheet editors.png

Settings are those that the commands take for the demo's generator; fast and the mappers find on other seeds. Seconds
are of one processor: a prompt's (its search or training), then a face's.
"""
from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from measure_editing import FIRST_SEED, GENERATOR, PROMPTS, cells_of  # noqa: E402

METHODS = ("fast", "mapper", "mapper-s", "optimize", "optimize-s")
FOUND_ON = range(4_000_000, 4_000_128)
Editor = Callable[[object], tuple]      # faces -> their edited S codes


def main() -> None:
    """Print one line a method and prompt; write the table and a sheet of the first faces where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--faces", type=int, default=200)
    parser.add_argument("--optimised", type=int, default=24, help="of them for the optimisation, which takes a while")
    parser.add_argument("--truncation", type=float, default=.7)
    parser.add_argument("--only", nargs="+", choices=PROMPTS, metavar="TARGET", help="only these prompts")
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to")
    parser.add_argument("--sheet", type=Path, help="PNG file: of a prompt the faces as they are, then a row a method")
    options = parser.parse_args()
    world = World(options.truncation)
    lines = ["| method | target | faces | before | reached | kept | kept, implied aside | least kept | s a prompt | "
             "s a face |", "|---|---|---:|---:|---:|---:|---:|---|---:|---:|"]
    for method in options.methods:
        for target in options.only or PROMPTS:
            count = min(options.faces, options.optimised) if method.startswith("optimize") else options.faces
            lines.append(world.row(method, target, world.faces(range(FIRST_SEED, FIRST_SEED + count))))
            print(lines[-1], flush=True)
    if options.write:
        from jittor_ipl.disk.atomic import write_bytes
        write_bytes(options.write, ("\n".join(lines) + "\n").encode())
    if options.sheet:
        world.sheet(options.sheet)


class World:
    """The demo generator, the CLIPs that guide its edits, and the judge that no part of it ever sees."""

    def __init__(self, truncation: float) -> None:
        from jittor_ipl.weights.generator import load_generator
        from jittor_ipl.world.judging.judge import load
        from jittor_ipl.world.subjects import PORTRAITS
        self.generator, self.judge, self.truncation = load_generator(GENERATOR), load("judge"), truncation
        self.values, self.center, self.shown = PORTRAITS.table.values, self.generator.center(4096, 2), {}

    def faces(self, seeds: range):
        from jittor_ipl.editing.codes import faces_of_seeds
        return faces_of_seeds(self.generator, seeds, self.truncation, self.center)

    def guides(self, target: str) -> list:
        from jittor_ipl.commands.edit.guides import DEMO_CLIPS
        from jittor_ipl.editing.guidance import open_guide
        return [open_guide(ref, target, neutral=PROMPTS[target][0]) for ref in DEMO_CLIPS]

    def editor(self, method: str, target: str) -> Editor:
        """Return what edits faces; finding or training it is part of making it."""
        guides = self.guides(target)
        if method == "fast":
            return self.fast(guides)
        return (self.mapper if method.startswith("mapper") else self.optimiser)(guides, method.endswith("-s"))

    def fast(self, guides: list) -> Editor:
        from jittor_ipl.editing.deviations import deviations
        from jittor_ipl.editing.fast import STRENGTH, FastSettings, find_step
        deltas = find_step(self.generator, self.faces(FOUND_ON).styles, guides, FastSettings(id_lambda=0),
                           deviations(self.generator, "S"))
        return lambda faces: tuple(code + STRENGTH * delta for code, delta in zip(faces.styles, deltas))

    def mapper(self, guides: list, in_s: bool) -> Editor:
        from jittor_ipl.commands.edit.mapper import ON_THE_DEMO, ON_THE_DEMO_IN_S
        from jittor_ipl.editing.codes import in_file_order
        from jittor_ipl.editing.deviations import deviations
        from jittor_ipl.editing.latent_mapper import (
            MapperSettings,
            config_for,
            drawn_faces,
            edit_faces,
            train_latent_mapper,
        )
        from jittor_ipl.models.latent_mappers import make_latent_mapper
        from jittor_ipl.runtime.streams import rng
        settings = MapperSettings(**(ON_THE_DEMO_IN_S if in_s else ON_THE_DEMO), seed=7)
        units = deviations(self.generator, "S" if in_s else "W+")
        mapper = make_latent_mapper(
            config_for(self.generator, "WithoutToRGBStyleSpaceMapper" if in_s else "LevelsMapper"),
            rng(settings.seed, "mapper.init"), in_file_order(self.generator, units) if in_s else units)
        train_latent_mapper(self.generator, mapper, drawn_faces(self.generator, settings, self.truncation, self.center),
                            guides, settings, units=units)
        return lambda faces: edit_faces(faces, mapper)[1]

    def optimiser(self, guides: list, in_s: bool) -> Editor:
        from jittor_ipl.commands.edit.optimize import ON_THE_DEMO
        from jittor_ipl.editing.codes import as_styles
        from jittor_ipl.editing.deviations import principal
        from jittor_ipl.editing.optimize import Descent, optimise
        settings = Descent("S" if in_s else "W+", **ON_THE_DEMO)
        directions = principal(self.generator, settings.space)

        def edit(faces):
            start = list(faces.styles) if in_s else [faces.ws]
            return as_styles(self.generator, optimise(self.generator, start, guides, settings, directions=directions))
        return edit

    def pictures(self, styles: tuple) -> list[np.ndarray]:
        from jittor_ipl.editing.drawing import draw
        return list(draw(self.generator, styles, at_once=32))

    def row(self, method: str, target: str, faces) -> str:
        """Return one row of the table, and keep the first faces for the sheet."""
        from jittor_ipl.images.pixels import from_uint8
        began = time.process_time()
        editor = self.editor(method, target)
        ready = time.process_time()
        styles = editor(faces)
        done = time.process_time()
        drawn = [self.pictures(codes) for codes in (faces.styles, styles)]
        before, after = (self.judge.attributes(from_uint8(np.stack(pictures))) for pictures in drawn)
        self.shown.setdefault(target, [(target, drawn[0][:8])]).append((method, drawn[1][:8]))
        cells = [method, target, len(before), *cells_of(target, self.values, before, after), f"{ready - began:.1f}",
                 f"{(done - ready) / len(before):.2f}"]
        return f"| {' | '.join(map(str, cells))} |"

    def sheet(self, path: Path) -> None:
        """Write the rows that were kept."""
        from jittor_ipl.disk.atomic import write_bytes
        from jittor_ipl.images.sheets import contact_sheet, encode_sheet
        write_bytes(path, encode_sheet(contact_sheet([row for rows in self.shown.values() for row in rows])))


if __name__ == "__main__":
    main()

#!/usr/bin/env python
"""Measure the demo world's diffusion model with the independent judges, on captions of faces that no training saw.

    python scripts/measure_diffusion.py                                      # demo:diffusion
    python scripts/measure_diffusion.py --write docs/demo_diffusion.md --sheet results/diffusion.png

Every caption says all ten attributes and names the style.
"""
import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

SHOWN = 10      # faces on the sheet


def main() -> None:
    """Print the table; write it, and the sheet, where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo:diffusion", help="the model: demo:<name> or a folder")
    parser.add_argument("--faces", type=int, default=16, help="pictures a style")
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to")
    parser.add_argument("--sheet", type=Path, help="PNG file for the pictures above the renders of the same faces")
    options = parser.parse_args()

    from jittor_ipl.disk.atomic import write_bytes
    from jittor_ipl.images.sheets import contact_sheet, encode_sheet
    from jittor_ipl.weights.diffusion import load_diffusion
    model = load_diffusion(options.model)
    figures, sheet = measured(model, options)
    lines = table(figures, options)
    lines += ["", f"The autoencoder alone: {psnr(model):.1f} dB over pictures of 64 unseen faces in all eleven styles."]
    print("\n".join(lines))
    if options.write:
        write_bytes(options.write, ("# What the judges see of the demo world's diffusion model\n\n"
                                    + "\n".join(lines) + "\n").encode())
    if options.sheet:
        write_bytes(options.sheet, encode_sheet(contact_sheet(sheet)))


def measured(model, options) -> tuple[dict[str, dict[str, float]], list]:
    """What both judges see of every style that the model was taught, and the sheet's rows."""
    from jittor_ipl.config.lora import Sampling
    from jittor_ipl.diffusion.pipeline import generate
    from jittor_ipl.runtime.streams import rng
    from jittor_ipl.world.judging.judge import load
    from jittor_ipl.world.judging.measure import share_of
    from jittor_ipl.world.subjects import PORTRAITS
    from jittor_ipl.world.teaching.captions import PORTRAIT
    from jittor_ipl.world.teaching.pool import to_float
    from jittor_ipl.world.teaching.pretrain_diffusion import SEEN
    colour, structure = load("judge"), load("judge-structure")
    faces = PORTRAITS.table.sample(rng(7, "measured captions"), options.faces)
    labels = PORTRAITS.table.labels(faces)
    sampling = Sampling(steps=options.steps, guidance=options.guidance)
    figures, rows, agree = {}, [], []
    for style in SEEN:
        number = np.full((options.faces, 1), PORTRAITS.styles.index(style))
        captions = [PORTRAIT.noun_phrase(said) for said in np.concatenate([number, labels], axis=1)]
        drawn = list(generate(model, captions, range(options.faces), sampling))
        images = to_float(np.stack(drawn).transpose(0, 3, 1, 2))
        seen = colour.predict(images)
        agree.append(seen[:, 1:] == labels)
        figures[style] = {"colour judge": share_of(PORTRAITS, style, seen[:, 0]),
                          "structure judge": share_of(PORTRAITS, style, structure.style(images)),
                          "attributes": float(agree[-1].mean())}
        true = np.moveaxis(PORTRAITS.render(faces, style), 1, -1)
        rows += [(style, drawn[:SHOWN]), ("rendered", list(true[:SHOWN]))]
    agree = np.concatenate(agree)
    figures["all"] = {name: float(np.mean([values[name] for values in figures.values()])) for name in figures["photo"]}
    figures |= {f"attribute {name}": {"attributes": float(agree[:, i].mean())}
                for i, name in enumerate(PORTRAITS.table.values)}
    return figures, rows


def table(figures: dict[str, dict[str, float]], options) -> list[str]:
    """The lines of the Markdown table."""
    columns = list(figures["all"])
    lines = [f"{options.faces} pictures a style, {options.steps} steps of dpm++2m, guidance {options.guidance:g}. Made "
             "by `python scripts/measure_diffusion.py`.", "", "| style | " + " | ".join(columns) + " |",
             "|---|" + "---:|" * len(columns)]
    return lines + ["| " + " | ".join([name, *(f"{values[c]:.0%}" if c in values else "" for c in columns)]) + " |"
                    for name, values in figures.items()]


def psnr(model) -> float:
    """PSNR in dB of unseen renders that went through the latents and back, mean over pictures."""
    from jittor_ipl.world.teaching import pool, pretrain_vae
    return pretrain_vae.evaluate(model.vae, pool.build(8, "measured renders", 64))["psnr"]


if __name__ == "__main__":
    main()

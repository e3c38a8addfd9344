#!/usr/bin/env python
"""Measure what each option of the demo's LoRA does to judges and score, beside the suite as it ships and the base.

    python scripts/lora_options.py                                     # every option; runs/ and results/ hold the rest
    python scripts/lora_options.py --only text-frozen,noise-start
    python scripts/lora_options.py --write docs/demo_lora.md

Trains the suite once for the options of sampling and once more for each option of training; finished ones are kept.
"""
import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SUITE = "demo_lora"
# Options of the training need a training of their own; those of the sampling use the suite's.
TRAINING = {"text-frozen": ["lora.text_targets=[]"],
            "feature": ["lora.feature.on=true"],
            "attention-only": ["lora.unet_targets=[to_q,to_k,to_v,to_out.0,ff.net.0.proj]"],
            "prior": ["lora.prior.weight=1.0"],
            "min-snr": ["lora.min_snr=5.0"]}
SAMPLING = {"noise-start": ["sample.start=noise"],
            "aligned": ["sample.aligned=true"],
            "style-id": ["sample.style_id.on=true"],
            "candidates": ["sample.candidates=4"],
            "guidance-1.5": ["sample.guidance=1.5"],
            "guidance-5": ["sample.guidance=5.0"]}
COLUMNS = {"judge": "colour judge", "structure": "structure judge", "said": "attributes said", "hist": "Hist",
           "score": "score"}


def main() -> None:
    """Run what is asked for, print the table, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=SUITE, help="the suite to vary")
    parser.add_argument("--only", default="", help="options, separated by commas (default: all)")
    parser.add_argument("--write", type=Path, help="Markdown file to write the tables to")
    options = parser.parse_args()
    chosen = [name for name in options.only.split(",") if name] or [*TRAINING, *SAMPLING]
    train(options.config, SUITE, [])
    figures = {"as it ships": figures_of(options.config, SUITE),
               "base model": figures_of(options.config, f"{SUITE}-base")}
    for name in chosen:
        suite = f"{SUITE}-{name}"
        if name in SAMPLING and not Path("runs", suite).exists():
            shutil.copytree(Path("runs", SUITE), Path("runs", suite))
        train(options.config, suite, {**TRAINING, **SAMPLING}[name])
        figures[name] = figures_of(options.config, suite)
        print(name, means(figures[name]), flush=True)
    text = "\n".join(table(figures))
    print(text)
    if options.write:
        from jittor_ipl.disk.atomic import write_bytes
        write_bytes(options.write, f"# What the options of the demo's LoRA do\n\n{text}\n".encode())


def train(config: str, suite: str, changes: list[str]) -> None:
    """Train, generate and prove a variant of the suite under its own name; what is finished is kept."""
    sets = [f"--set={change}" for change in ([f'suite="{suite}"', *changes] if suite != SUITE else changes)]
    command = [sys.executable, "-m", "jittor_ipl", "train-all", "--config", config, *sets]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def figures_of(config: str, results: str) -> dict[str, dict[str, float]]:
    """What judges and score say of every style's pictures in a results folder."""
    from jittor_ipl.config import choose_lora_runs, load_lora_suite
    from jittor_ipl.config.reading import suite_path
    from jittor_ipl.submission import lora_summary
    runs = choose_lora_runs(load_lora_suite(suite_path(config)), ())
    scorers = lora_summary.scorers_of(runs)
    return {run.style: lora_summary.figures_of(run, Path("results", results, f"{run.number:02d}"), scorers)
            for run in runs}


def means(figures: dict[str, dict[str, float]]) -> dict[str, float]:
    """The means over the styles."""
    return {column: round(float(np.mean([style[column] for style in figures.values()])), 3) for column in COLUMNS}


def table(figures: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """The Markdown tables: means of every option, then every style of the suite as it ships and of the base model."""
    head = ["| {} | " + " | ".join(COLUMNS.values()) + " |", "|---|" + "---:|" * len(COLUMNS)]
    lines = ["Means over five styles of ten prompts. Made by `python scripts/lora_options.py`.", "",
             head[0].format("option"), head[1]]
    lines += [row(name, means(styles)) for name, styles in figures.items()]
    lines += ["", head[0].format("style"), head[1]]
    return lines + [row(f"{style}, {name}", figures[name][style]) for style in figures["as it ships"]
                    for name in ("as it ships", "base model")]


def row(name: str, values: dict[str, float]) -> str:
    """One line of a table."""
    shown = [f"{values[c]:.0%}" if c in ("judge", "structure", "said") else f"{values[c]:.3f}" for c in COLUMNS]
    return f"| {name} | " + " | ".join(shown) + " |"


if __name__ == "__main__":
    main()

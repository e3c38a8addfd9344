#!/usr/bin/env python
"""Measure adapted demo generators against the true renders and with the independent judges, on seeds no trial used.

    python scripts/measure_demo.py                          # B_weight/demo, 256 seeds
    python scripts/measure_demo.py --weights runs/demo --write docs/demo_results.md
    python scripts/measure_demo.py --samples 1000           # as many as docs/benchmark.md measures

Portraits or pets: the source generator that the weights name decides which judges see the pictures.
"""
import argparse
import json
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

COLUMNS = {"way": "way to the truth", "psnr": "PSNR (dB)", "fid": "FID", "sharpness": "sharpness",
           "shape": "shape judge", "judge": "colour judge", "structure": "structure judge", "kept": "attributes kept",
           "meant": "attributes meant", "diversity": "diversity"}
PLAIN = {"psnr": ".1f", "fid": ".0f", "sharpness": ".2f", "diversity": ".2f"}     # the others are shares


def main() -> None:
    """Print one JSON line a style and the table; write the table where `--write` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=Path("B_weight/demo"))
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to")
    parser.add_argument("--samples", type=int, default=256, help="pictures of a style; FID falls with their number")
    options = parser.parse_args()

    from jittor_ipl.submission.produce import load, source_of
    from jittor_ipl.submission.sets import open_set
    from jittor_ipl.world.judging.measure import FIRST_REFERENCE_SEED, MEASURED_SEEDS, Panel
    from jittor_ipl.world.subjects import subject_of

    entries = open_set(options.weights).entries
    subject, source = subject_of(entries[0].plan.source), source_of(entries[0].plan.source)
    seeds = range(MEASURED_SEEDS.start, MEASURED_SEEDS.start + options.samples)
    panel = Panel(source, seeds, subject)
    verdicts = {f"{subject.source} (the source itself)": panel.verdict(source, subject.source)}
    perfect = []
    for entry in entries:
        verdicts[entry.plan.style] = panel.verdict(load(entry), entry.plan.style)
        perfect.append(panel.ceiling(entry.plan.style))
        print(json.dumps({entry.plan.style: verdicts[entry.plan.style]}), flush=True)
    columns = {key: name for key, name in COLUMNS.items() if any(key in verdict for verdict in verdicts.values())}
    lines = [f"Seeds {seeds.start} to {seeds.stop - 1}, untruncated, stored noise; FID to as many true renders, of "
             f"the seeds from {FIRST_REFERENCE_SEED} on. Made by `{command(options)}`.", "",
             "| style | " + " | ".join(columns.values()) + " |", "|---|" + "---:|" * len(columns)]
    lines += [f"| {style} | " + " | ".join(shown(key, verdict) for key in columns) + " |"
              for style, verdict in verdicts.items()]
    adapted = [verdict for style, verdict in verdicts.items() if not style.startswith(subject.source)]
    means = {"mean of the adapted": adapted, "mean of their true renders": perfect}
    for name, rows in means.items():
        mean = {key: sum(row[key] for row in rows) / len(rows) for key in columns}
        lines.append(f"| {name} | " + " | ".join(shown(key, mean) for key in columns) + " |")
    lines += ["", summary(adapted)]
    print("\n".join(lines))
    if options.write:
        from jittor_ipl.disk.atomic import write_bytes
        write_bytes(options.write,
                    ("# What the judges see in the shipped demo styles\n\n" + "\n".join(lines) + "\n").encode())


def command(options: argparse.Namespace) -> str:
    """What was called, but for the file that the table is written to."""
    asked = [("--weights", options.weights, Path("B_weight/demo")), ("--samples", options.samples, 256)]
    return " ".join(["python scripts/measure_demo.py",
                     *(f"{name} {value}" for name, value, default in asked if value != default)])


def shown(key: str, verdict: dict[str, float]) -> str:
    """A figure as the table shows it, empty where there is none or no end to it."""
    return format(verdict[key], PLAIN.get(key, ".1%")) if math.isfinite(verdict.get(key, math.inf)) else ""


def summary(verdicts: list[dict[str, float]]) -> str:
    """One sentence over the adapted styles."""
    def count(key: str, least: float) -> str:
        return f"{sum(verdict[key] >= least for verdict in verdicts)} of {len(verdicts)}"
    shaped = f"{count('shape', .7)} show in at least 70 % of the pictures what makes the style; " \
        if all("shape" in verdict for verdict in verdicts) else ""
    return (f"{count('way', .5)} styles are at least half-way to the truth; {shaped}"
            f"{count('judge', .8)} are seen as the target style in at least 80 % by the colour judge, "
            f"{count('structure', .6)} in at least 60 % by the structure judge.")


if __name__ == "__main__":
    main()

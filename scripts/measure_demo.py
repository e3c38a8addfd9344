#!/usr/bin/env python
"""Measure adapted demo generators with the independent judges, on 256 seeds that no trial used.

    python scripts/measure_demo.py                          # B_weight/demo
    python scripts/measure_demo.py --weights runs/demo --write docs/demo_results.md

Portraits or pets: the source generator that the weights name decides which judges see the pictures.
"""
import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

COLUMNS = {"judge": "colour judge", "structure": "structure judge", "kept": "attributes kept",
           "meant": "attributes meant"}


def main() -> None:
    """Print one JSON line a style and the table; write the table where `--write` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=Path("B_weight/demo"))
    parser.add_argument("--write", type=Path, help="Markdown file to write the table to")
    options = parser.parse_args()

    from jittor_ipl.submission.produce import load, source_of
    from jittor_ipl.submission.sets import open_set
    from jittor_ipl.world.judging.measure import MEASURED_SEEDS, Panel
    from jittor_ipl.world.subjects import subject_of

    entries = open_set(options.weights).entries
    subject, source = subject_of(entries[0].plan.source), source_of(entries[0].plan.source)
    panel = Panel(source, subject=subject)
    verdicts = {f"{subject.source} (the source itself)": panel.verdict(source, subject.source)}
    for entry in entries:
        verdicts[entry.plan.style] = panel.verdict(load(entry), entry.plan.style)
        print(json.dumps({entry.plan.style: verdicts[entry.plan.style]}), flush=True)
    lines = [f"Seeds {MEASURED_SEEDS.start} to {MEASURED_SEEDS.stop - 1}, untruncated, stored noise. Made by "
             "`python scripts/measure_demo.py`.", "", "| style | " + " | ".join(COLUMNS.values()) + " |",
             "|---|" + "---|" * len(COLUMNS)]
    lines += [f"| {style} | " + " | ".join(f"{verdict[key]:.1%}" for key in COLUMNS) + " |"
              for style, verdict in verdicts.items()]
    lines += ["", summary([verdict for style, verdict in verdicts.items() if not style.startswith(subject.source)])]
    print("\n".join(lines))
    if options.write:
        from jittor_ipl.disk.atomic import write_bytes
        write_bytes(options.write,
                    ("# What the judges see in the shipped demo styles\n\n" + "\n".join(lines) + "\n").encode())


def summary(verdicts: list[dict[str, float]]) -> str:
    """One sentence over the adapted styles."""
    judged = sum(verdict["judge"] >= .8 for verdict in verdicts)
    structured = sum(verdict["structure"] >= .6 for verdict in verdicts)
    kept = sum(verdict["kept"] for verdict in verdicts) / len(verdicts)
    return (f"{judged} of {len(verdicts)} styles are seen as the target style in at least 80 % of the pictures, "
            f"{structured} in at least 60 % by the structure judge; "
            f"{kept:.1%} of the attributes are kept, mean over the styles.")


if __name__ == "__main__":
    main()

"""Gather what the parts of scripts/torture.sh found: print the table, write report.json, fill docs/reliability.md.

    python -m tests.torture.report runs/torture/long
    python -m tests.torture.report runs/torture/long --docs docs/reliability.md
"""
from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jittor_ipl.disk.atomic import write_bytes, write_json

BEGIN, END = "<!-- figures: written by tests/torture/report.py, not by hand -->", "<!-- end of the figures -->"

ORDER = "kills corruptions disks locks threads compiles soak hostile_pickles flip_fixtures fuzz_readers fuzz_images "


def main() -> int:
    """Read the parts' logs, print, write, and return 0 when all passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="runs/torture/long or runs/torture/short")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="replace the figures in this page")
    arguments = parser.parse_args()
    found = [_outcome(path)
             for path in sorted(arguments.folder.glob("*.log"), key=lambda path: (ORDER + path.stem).find(path.stem))]
    report = {"machine": _machine(), "passed": bool(found) and all(outcome["passed"] for outcome in found),
              "parts": found}
    write_json(arguments.folder / "report.json", report)
    write_json(arguments.folder.parent / "report.json", report)
    for outcome in found:
        print(f"{'passed' if outcome['passed'] else 'FAILED'}  {outcome['name']:<16} {_headline(outcome['figures'])}")
    if arguments.docs:
        _fill(arguments.docs, report)
    return 0 if report["passed"] else 1


def _outcome(log: Path) -> dict[str, Any]:
    """Return the last line of a part's log, with the date; a failure when the part did not come to its end."""
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    date = datetime.date.fromtimestamp(log.stat().st_mtime).isoformat()
    try:
        outcome = json.loads(lines[-1])
        return {**outcome, "part": log.stem, "date": date}
    except (ValueError, IndexError, TypeError):
        return {"name": log.stem, "part": log.stem, "what": "did not come to its end", "form": "", "figures": {},
                "passed": False, "date": date}


def _machine() -> str:
    """Name the machine in general terms."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*:\s*(.+)", text)
    processor = model[1].strip() if model else platform.machine()
    return f"{os.cpu_count()} cores of {processor}, {platform.system()}, Python {platform.python_version()}"


def _headline(figures: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {_shown(value)}" for key, value in figures.items()
                     if not isinstance(value, (dict, list)) and key != "seconds")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_shown(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_shown(inner) for inner in value) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _fill(page: Path, report: Mapping[str, Any]) -> None:
    """Replace what stands between the two marks of the page."""
    lines = [BEGIN, "", f"Machine: {report['machine']}.", ""]
    for outcome in report["parts"]:
        short = " --short" if outcome["form"] == "short" else ""
        lines += [f"### {outcome['what'] or outcome['name']}", "",
                  f"{'Passed' if outcome['passed'] else '**Failed**'} on {outcome['date']}: "
                  f"`bash scripts/torture.sh{short} {outcome['part']}`", "", "| | |", "|---|---|"]
        lines += [f"| {key.replace('_', ' ')} | {_cell(_shown(value))} |"
                  for key, value in outcome["figures"].items()] + [""]
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    write_bytes(page, (before + "\n".join([*lines, END]) + after).encode())


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    raise SystemExit(main())

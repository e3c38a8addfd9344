"""A result of `measure` as JSON and as a Markdown table."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jittor_ipl.disk.atomic import write_bytes, write_json
from jittor_ipl.metrics.catalogue import COUNTS, LOWER_IS_BETTER


def markdown(result: Mapping[str, Any]) -> str:
    """Return the report: the note first when there is one, the table of figures, the protocol."""
    lines = [result["note"], ""] if result["note"] else []
    lines += ["| metric | value | deviation | better |", "|---|---:|---:|---|"]
    figures = result["metrics"]
    for name, value in figures.items():
        if not name.endswith("_std"):
            deviation = f"{name.removesuffix('_mean')}_std"
            spread = _number(figures[deviation]) if deviation in figures else ""
            better = "" if name in COUNTS else "lower" if name in LOWER_IS_BETTER else "higher"
            lines.append(f"| {name} | {_number(value)} | {spread} | {better} |")
    return "\n".join([*lines, "", *_protocol(result["protocol"])]) + "\n"


def _number(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.6g}"


def _protocol(protocol: Mapping[str, Any]) -> list[str]:
    lines = ["Protocol:", ""]
    lines += [f"- {label}: {_set(facts)}" for label, facts in protocol["sets"].items()]
    facts = [name for name in ("pairs", "prompt", "source_prompt") if name in protocol]
    lines += [f"- {name.replace('_', ' ')}: {protocol[name]!r}" for name in facts]
    lines += [f"- {key}: {text}" for key, text in protocol["settings"].items()]
    lines += [f"- left out: {reason}" for reason in protocol["left_out"].values()]
    lines += [f"- {role}: {facts['name']}, weights {facts['weights_sha256'][:16]}"
              for role, facts in protocol["networks"].items()]
    versions = ", ".join(f"{name} {version}" for name, version in protocol["versions"].items())
    return [*lines, f"- seed {protocol['seed']}; {versions}"]


def _set(facts: Mapping[str, Any]) -> str:
    if "statistics" in facts:
        return f"statistics of {facts['features']} features, {facts['statistics']}; SHA-256 {facts['sha256'][:16]}"
    extra = "".join(f", {facts[name]}" for name in ("resized", "transparency") if name in facts)
    extra += f", {facts['skipped']} damaged left out" if facts.get("skipped") else ""
    return (f"{facts['count']} pictures of {facts['width']} x {facts['height']} pixels{extra}; "
            f"SHA-256 {facts['pixels_sha256'][:16]}")


def write_report(result: Mapping[str, Any], text: str, json_file: str | Path | None,
                 markdown_file: str | Path | None) -> None:
    """Write `result` as JSON and its Markdown `text` where a file is named; UserError when it cannot be written."""
    if json_file:
        write_json(json_file, result)
    if markdown_file:
        write_bytes(markdown_file, text.encode())

"""`docs/benchmark.md`: every figure from the records alone, every word on a method from the plan."""
from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from jittor_ipl.benchmark.figures import FIGURES, MUST_HOLD, Figure
from jittor_ipl.benchmark.plan import ABLATION
from jittor_ipl.benchmark.results import Contest, Mean, Results, contests, holding
from jittor_ipl.benchmark.settings import Benchmark, Method

ANCHOR_TITLES = {"source": "*the source itself*", "truth": "*true renders*"}
NOTHING = "-"
_LISTED = 12                # missing cells that are named


def markdown(benchmark: Benchmark, results: Results, sheet: str | None, command: str) -> str:
    """Return the whole report; `sheet` is the picture to show, relative to it, `command` what made it."""
    notes = list(dict.fromkeys(record["note"] for record in results.done() if record["note"]))
    styles = benchmark.styles()
    parts = ["# Benchmark of adaptation methods", *notes, _protocol(benchmark, results, command), benchmark.about.strip(), _progress(results),
             f"![The same latents, method by method]({sheet})" if sheet else "",
             "## Ours against its peers", _contests(benchmark, results),
             *(["## What must hold", _holding(benchmark, results)] if results.known(MUST_HOLD) else []), "## Summary", "Mean over the styles of which every seed is done; in brackets how many, where some are missing.",
             _summary(benchmark, results), "## Figure by figure",
             "Mean ± deviation over seeds; the best mean of the trained methods is bold. [n/m]: n of m seeds are done. "
             "Definitions: [metrics.md](metrics.md)."]
    for name, figure in FIGURES.items():
        if any(name in record["figures"] for record in results.done()):
            parts += [f"### {figure.title}{_better(figure)}", figure.meaning[:1].upper() + figure.meaning[1:] + ".",
                      _by_style(benchmark, results, styles, name)]
    parts += _by_attribute(benchmark, results)
    if benchmark.ablations:
        parts += ["## Ablations", *_ablations(benchmark, results)]
    parts += ["## Time", _times(benchmark, results), "## Methods", _methods(benchmark)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _protocol(benchmark: Benchmark, results: Results, command: str) -> str:
    last = benchmark.first_seed + benchmark.samples - 1
    last_reference = benchmark.first_reference_seed + benchmark.samples - 1
    seeds = ", ".join(map(str, benchmark.seeds))
    networks = [("Inception", benchmark.networks.inception), ("LPIPS", ", ".join(benchmark.networks.lpips)),
                ("ArcFace", benchmark.networks.arcface)]
    served = "; ".join(f"{name}: {ref or 'the demo judge'}" for name, ref in networks)
    versions = {f"{name} {value}" for record in results.done() for name, value in record["versions"].items()}
    pairs = "; ".join(f"{source.title or source.suite} → {', '.join(source.styles)}" for source in benchmark.sources)
    return (f"Sources and target styles: {pairs}.\n\nProtocol: every method is trained on every style with the seeds {seeds}, and {benchmark.samples} untruncated pictures with "
            f"stored noise of the latents {benchmark.first_seed} to {last} are measured. FID, KID and SIFID "
            f"compare with {benchmark.samples} true renders, in the target style, of the other latents "
            f"{benchmark.first_reference_seed} to {last_reference} (real weights: with the user's pictures of the style). Networks: "
            f"{served}; CLIP: {benchmark.networks.clip}. The judges took no part in any training. The rows *the source itself* and "
            "*true renders* are the source generator's pictures and the true renders of the measured latents: where a method begins "
            f"and what a perfect one would reach.\nMade by `{command}`"
            + (f" with {', '.join(sorted(versions))}." if versions else "."))


def _progress(results: Results) -> str:
    missing = results.missing()
    total = len(results.records)
    if not missing:
        return f"All {total} cells (method, style, seed) are done."
    named = ", ".join(" ".join(str(part) for part in key if part is not None) for key in missing[:_LISTED])
    more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
    return f"**{total - len(missing)} of {total} cells (method, style, seed) are done**; {NOTHING} marks what is missing: {named}{more}."


def _contests(benchmark: Benchmark, results: Results) -> str:
    ours, styles = _title(benchmark.methods[benchmark.ours], benchmark.ours), benchmark.styles()
    groups = [contests(results, benchmark.ours, peers, styles) for peers in benchmark.peers.values()]
    rows = [[FIGURES[figure].title if figure else "the figures above at once", *(_outcome(group[figure]) for group in groups)]
            for figure in groups[0]]
    members = [f"- {_escaped(group)}: {' and '.join(_title(benchmark.methods[name], name) for name in peers)}"
               for group, peers in benchmark.peers.items()]
    return (f"Styles on which {ours} is better / equal / worse than the best peer of a group, by means over seeds; equal: as where both "
            "stand at 100 %. Open: a cell is missing.\n\n" + table(["figure", *map(_escaped, benchmark.peers)], rows)
            + "\n\n" + "\n".join(members))


def _outcome(contest: Contest) -> str:
    return f"{contest.won} / {contest.tied} / {contest.lost}" + (f", open {contest.open}" if contest.open else "")


def _holding(benchmark: Benchmark, results: Results) -> str:
    styles = benchmark.styles()
    rows = []
    for name, title in _rows(benchmark, results):
        found = holding(results, name, styles)
        rows.append([title, *(f"{held} of {whole}" if whole else NOTHING for held, whole in found.values())])
    heads = [f"{FIGURES[figure].title.removesuffix(' (%)')} ≥ {MUST_HOLD[figure]:.0%}" for figure in results.known(MUST_HOLD)]
    return f"Styles on which it holds, of those with every seed done ({len(styles)} in all).\n\n" + table(["method", *heads], rows)


def _summary(benchmark: Benchmark, results: Results) -> str:
    shown = [name for name in FIGURES if any(name in record["figures"] for record in results.done())]
    if not shown:
        return "No cell is done."
    styles, rows = benchmark.styles(), _rows(benchmark, results)
    grid = [[results.over_styles(method, styles, name) for name in shown] for method, _ in rows]

    def text(mean: Mean | None, name: str) -> str:
        return NOTHING if mean is None else FIGURES[name].show(mean.value) + ("" if mean.whole else f" [{mean.done}]")
    # A mean over other styles is no better or worse: bold only where every style counts.
    cells = _bold([[mean if mean is None or mean.whole else None for mean in line] for line in grid],
                  [[text(mean, name) for mean, name in zip(line, shown)] for line in grid], [FIGURES[name] for name in shown],
                  [name not in ANCHOR_TITLES for name, _ in rows])
    return table(["method", *(FIGURES[name].title + _better(FIGURES[name]) for name in shown)],
                 [[title, *line] for (_, title), line in zip(rows, cells)])


def _by_style(benchmark: Benchmark, results: Results, styles: Sequence[str], name: str) -> str:
    rows, figure = _rows(benchmark, results), FIGURES[name]
    grid = [[results.mean(method, style, name) for style in styles] for method, _ in rows]
    cells = _bold(grid, [[_with_deviation(mean, figure) for mean in line] for line in grid], [figure] * len(styles),
                  [method not in ANCHOR_TITLES for method, _ in rows])
    return table(["method", *styles], [[title, *line] for (_, title), line in zip(rows, cells)])


def _by_attribute(benchmark: Benchmark, results: Results) -> list[str]:
    """Return a table a source: every attribute's share kept, mean over all cells that are done."""
    parts = []
    for source in benchmark.sources:
        done = {method: [record["attributes"] for style in source.styles for record in results.of(method, style) if record is not None]
                for method, _ in _rows(benchmark, results)}
        names = next((list(one) for records in done.values() for one in records if one), [])
        rows = [[title, *(f"{100 * statistics.fmean(record[name]['kept'] for record in done[method]):.1f}" if done[method] else NOTHING
                          for name in names)] for method, title in _rows(benchmark, results)]
        if names:
            parts += [f"### Attributes kept one by one (%), {source.title or source.suite}",
                      "Mean over the cells that are done.", table(["method", *names], rows)]
    return parts


def _with_deviation(mean: Mean | None, figure: Figure) -> str:
    if mean is None:
        return NOTHING
    text = figure.show(mean.value, mean.deviation)
    return text if mean.whole else f"{text} [{mean.done}/{mean.planned}]"


def _bold(grid: list[list[Mean | None]], texts: list[list[str]], figures: Sequence[Figure], counts: Sequence[bool]) -> list[list[str]]:
    """Return the texts with the best of every column bold, among the rows that count; equal ones all."""
    result = [list(line) for line in texts]
    for column, figure in enumerate(figures):
        values = {row: line[column].value for row, line in enumerate(grid) if counts[row] and line[column] is not None}
        if not figure.better or not values:
            continue
        best = (max if figure.better == "up" else min)(values.values())
        for row in (row for row, value in values.items() if value == best):
            result[row][column] = f"**{texts[row][column]}**"
    return result


def _ablations(benchmark: Benchmark, results: Results) -> list[str]:
    ablations = benchmark.ablations
    shown = [name for name in FIGURES if any(name in record["figures"] for record in results.done())]
    rows = [(ablations.base, f"{_title(benchmark.methods[ablations.base], ablations.base)} (all of it)")]
    rows += [(f"{ABLATION}{name}", _title(variant, name)) for name, variant in ablations.variants.items()]
    lines = []
    for method, title in rows:
        means = [results.over_styles(method, ablations.styles, name, ablations.seeds) for name in shown]
        lines.append([title, *(NOTHING if mean is None else FIGURES[name].show(mean.value) + ("" if mean.whole else f" [{mean.done}]")
                               for mean, name in zip(means, shown))])
    notes = [[f"`{name}`", _escaped(variant.note), _code(variant.set)] for name, variant in ablations.variants.items()]
    text = (f"Mean over {', '.join(ablations.styles)}, seeds {', '.join(map(str, ablations.seeds))}; [n]: only n styles have every seed.")
    return [text, table(["variant", *(FIGURES[name].title + _better(FIGURES[name]) for name in shown)], lines),
            table(["variant", "what it changes", f"overrides of `{ablations.base}`"], notes, 3)]


def _times(benchmark: Benchmark, results: Results) -> str:
    rows = []
    for name, method in benchmark.methods.items():
        records = [record for style in benchmark.styles() for record in results.of(name, style) if record is not None]
        training = [record["training"] for record in records]
        rows.append([_title(method, name), str(len(records)), _spread(training, lambda t: t["steps_mapper"], "d"),
                     _spread(training, lambda t: t["steps_generator"], "d"), _spread(training, lambda t: t["pictures_generator"], "d"),
                     _spread(training, lambda t: t["seconds_mapper"] + t["seconds_generator"], ".0f"),
                     _spread(records, lambda record: record["seconds_measuring"], ".0f")])
    return ("Median of a cell, on whatever else the machine did.\n\n"
            + table(["method", "cells", "steps of the mapper", "steps of the generator", "pictures", "s training", "s measuring"], rows))


def _spread(items: Sequence[dict], value: Callable[[dict], float], form: str) -> str:
    if not items:
        return NOTHING
    middle = statistics.median(value(item) for item in items)
    return format(int(middle) if form == "d" else middle, form)


def _methods(benchmark: Benchmark) -> str:
    return ("Suites: " + ", ".join(f"`{source.suite}`" for source in benchmark.sources) + ". Overrides of them:\n\n"
            + table(["method", "what it is", "overrides"],
                    [[_title(method, name), _escaped(method.note), _code(method.set)] for name, method in benchmark.methods.items()], 3))


def _rows(benchmark: Benchmark, results: Results) -> list[tuple[str, str]]:
    """Return name and title of every row: the methods, then the anchors that are planned."""
    anchors = {name for name, _, _ in results.records}
    return [*((name, _title(method, name)) for name, method in benchmark.methods.items()),
            *((name, title) for name, title in ANCHOR_TITLES.items() if name in anchors)]


def _title(method: Method, name: str) -> str:
    return _escaped(method.title or name)


def _better(figure: Figure) -> str:
    return {"up": " ↑", "down": " ↓", "": ""}[figure.better]


def _code(settings: Iterable[str]) -> str:
    return ", ".join(f"`{_escaped(setting)}`" for setting in settings) or "none"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """Return a Markdown table: the first `texts` columns are text, the others numbers."""
    numbers = ["---" if column < texts else "---:" for column in range(len(heads))]
    lines = ["| " + " | ".join(line) + " |" for line in (heads, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(numbers)}|", *lines[1:]])

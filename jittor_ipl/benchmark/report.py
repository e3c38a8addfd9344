"""`docs/benchmark.md`: every figure from the records alone, every word on a method from the plan."""
from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence

from jittor_ipl.benchmark.figures import FIGURES, FIRST, MUST_HOLD
from jittor_ipl.benchmark.plan import ABLATION
from jittor_ipl.benchmark.results import Mean, Results, contests, holding
from jittor_ipl.benchmark.settings import Benchmark, Method

ANCHOR_TITLES = {"source": "*the source itself*", "truth": "*true renders*"}
NOTHING = "-"
_LISTED = 12                # missing cells that are named


def markdown(benchmark: Benchmark, results: Results, sheet: str | None, command: str) -> str:
    """Return the whole report; `sheet` is the picture to show, relative to it, `command` what made it."""
    report = _Tables(benchmark, results)
    notes = list(dict.fromkeys(record["note"] for record in results.done() if record["note"]))
    parts = ["# Benchmark of adaptation methods", *notes, report.protocol(command), benchmark.about.strip(),
             _progress(results), f"![The same latents, method by method]({sheet})" if sheet else "",
             *(["## Ours against its peers", report.contests()] if benchmark.peers else []),
             *(["## What must hold", report.holding()] if results.known(MUST_HOLD) else []), "## Summary",
             "Mean over the styles of their means over seeds, of the cells that are done; in brackets of how many "
             "styles, where some have none. Seconds: the median of a cell, a teacher's pairs included, its own "
             "training not.",
             report.summary(), report.others(), "## Figure by figure",
             "Mean ± deviation over seeds; the best mean of the trained methods is bold. [n/m]: n of m seeds are done. "
             "Definitions: [metrics.md](metrics.md)."]
    for name in report.shown:
        figure = FIGURES[name]
        parts += [f"### {_head(name)}", figure.meaning[:1].upper() + figure.meaning[1:] + ".", report.by_style(name)]
    parts += report.by_attribute()
    if benchmark.ablations:
        parts += ["## Ablations", *report.ablations()]
    methods = [[_title(method, name), _escaped(method.note), _suite(method) + _code(method.set)]
               for name, method in benchmark.methods.items()]
    parts += ["## Time", report.times(), "## Methods",
              "Suites: " + ", ".join(f"`{source.suite}`" for source in benchmark.sources) + ". Overrides of them:",
              table(["method", "what it is", "overrides"], methods, 3)]
    return "\n\n".join(part for part in parts if part) + "\n"


class _Tables:
    """The parts of the report that need both the plan and the records.

    shown   the figures that some record has
    rows    name and title of every row that has a cell: the methods, then the anchors
    """

    def __init__(self, benchmark: Benchmark, results: Results) -> None:
        self.benchmark, self.results, self.styles = benchmark, results, benchmark.styles()
        self.shown = [name for name in FIGURES if any(name in record["figures"] for record in results.done())]
        self.first = [name for name in FIRST if name in self.shown]
        self.there = {name for name, _, _ in results.records if results.counts(name)[0]}
        self.rows = [(name, title) for name, title in [
            *((name, _title(method, name)) for name, method in benchmark.methods.items()),
            *ANCHOR_TITLES.items()] if name in self.there]

    def protocol(self, command: str) -> str:
        benchmark, networks = self.benchmark, self.benchmark.networks
        last, last_reference = (first + benchmark.samples - 1
                                for first in (benchmark.first_seed, benchmark.first_reference_seed))
        named = {"Inception": networks.inception, "LPIPS": ", ".join(networks.lpips), "ArcFace": networks.arcface}
        served = "; ".join(f"{name}: {ref or 'the demo judge'}" for name, ref in named.items())
        versions = {f"{name} {value}" for record in self.results.done() for name, value in record["versions"].items()}
        pairs = "; ".join(f"{source.title or source.suite} → {', '.join(source.styles)}"
                          for source in benchmark.sources)
        return (f"Sources and target styles: {pairs}.\n\nProtocol: every method is trained on every style with the "
                f"seeds {', '.join(map(str, benchmark.seeds))}, and {benchmark.samples} untruncated pictures with "
                f"stored noise of the latents {benchmark.first_seed} to {last} are measured. FID, KID and SIFID "
                f"compare with {benchmark.samples} true renders, in the target style, of the other latents "
                f"{benchmark.first_reference_seed} to {last_reference} (real weights: with the user's pictures of the "
                f"style). Networks: {served}; CLIP: {networks.clip}. The judges took no part in any training. The rows "
                "*the source itself* and *true renders* are the source generator's pictures and the true renders of "
                "the measured latents: where a method begins and what a perfect one would reach.\n"
                f"Made by `{command}`" + (f" with {', '.join(sorted(versions))}." if versions else "."))

    def contests(self) -> str:
        methods, peers = self.benchmark.methods, self.benchmark.peers
        groups = [contests(self.results, self.benchmark.ours, names, self.styles) for names in peers.values()]
        rows = [[FIGURES[figure].title if figure else "the figures above at once",
                 *(f"{won} / {tied} / {lost}" + (f", open {left}" if left else "")
                   for won, tied, lost, left in (group[figure] for group in groups))] for figure in groups[0]]
        members = [f"- {_escaped(group)}: " + " and ".join(
                       _title(methods[name], name) + ("" if name in self.there else " (not run)") for name in names)
                   for group, names in peers.items()]
        ours = _title(methods[self.benchmark.ours], self.benchmark.ours)
        return (f"Styles on which {ours} is better / equal / worse than the best peer of a group, by means over the "
                "seeds that all of them have; equal: as where both stand at 100 %. Open: there is no such seed.\n\n"
                + table(["figure", *map(_escaped, peers)], rows) + "\n\n" + "\n".join(members))

    def holding(self) -> str:
        rows = [[title, *(f"{count} of {whole}" if whole else NOTHING
                          for count, whole in holding(self.results, name, self.styles).values())]
                for name, title in self.rows]
        heads = [f"{FIGURES[figure].title.removesuffix(' (%)')} ≥ {MUST_HOLD[figure]:.0%}"
                 for figure in self.results.known(MUST_HOLD)]
        return ("Styles on which it holds, by the mean over the seeds that are done, of the styles that have one "
                f"({len(self.styles)} in all).\n\n"
                + table(["method", *heads], rows))

    def summary(self) -> str:
        if not self.shown:
            return "No cell is done."
        counts = ["{} / {}".format(*self.results.counts(method)) for method, _ in self.rows]
        seconds = [_median(record["training"]["seconds_mapper"] + record["training"]["seconds_generator"]
                           for style in self.styles for record in self.results.of(method, style)
                           if record is not None and method not in ANCHOR_TITLES) for method, _ in self.rows]
        lines = [[count, *texts, time] for count, texts, time in zip(counts, self._means(self.first), seconds)]
        return self._table(["cells", *map(_head, self.first), "s training"], lines)

    def others(self) -> str:
        names = [name for name in self.shown if name not in self.first]
        return self._table(map(_head, names), self._means(names)) if names else ""

    def _means(self, names: Sequence[str]) -> list[list[str]]:
        grid = [[self.results.over_styles(method, self.styles, name) for name in names] for method, _ in self.rows]
        # A mean over other styles is no better or worse: bold only where every style counts.
        return self._texts(grid, names, " [{0.done}]", bold_parts=False)

    def by_style(self, name: str) -> str:
        grid = [[self.results.mean(method, style, name) for style in self.styles] for method, _ in self.rows]
        return self._table(self.styles, self._texts(grid, [name] * len(self.styles), " [{0.done}/{0.planned}]"))

    def by_attribute(self) -> list[str]:
        """Return a table a source: every attribute's share kept, mean over all cells that are done."""
        parts = []
        for source in self.benchmark.sources:
            done = [[record["attributes"] for style in source.styles for record in self.results.of(method, style)
                     if record is not None] for method, _ in self.rows]
            names = next((list(one) for records in done for one in records if one), [])
            if names:
                cells = [[f"{100 * statistics.fmean(record[name]['kept'] for record in records):.1f}" if records
                          else NOTHING for name in names] for records in done]
                parts += [f"### Attributes kept one by one (%), {source.title or source.suite}",
                          "Mean over the cells that are done.", self._table(names, cells)]
        return parts

    def ablations(self) -> list[str]:
        ablations = self.benchmark.ablations
        base = _title(self.benchmark.methods[ablations.base], ablations.base)
        rows = {ablations.base: f"{base} (all of it)",
                **{f"{ABLATION}{name}": _title(variant, name) for name, variant in ablations.variants.items()}}
        lines = [[title, *(_shown(self.results.over_styles(method, ablations.styles, name, ablations.seeds), name,
                                  " [{0.done}]") for name in self.first)]
                 for method, title in rows.items() if method in self.there]
        notes = [[f"`{name}`", _escaped(variant.note), _code(variant.set)]
                 for name, variant in ablations.variants.items()]
        return [f"Mean over {', '.join(ablations.styles)}, seeds {', '.join(map(str, ablations.seeds))}; "
                "[n]: only n styles have one.", table(["variant", *map(_head, self.first)], lines),
                table(["variant", "what it changes", f"overrides of `{ablations.base}`"], notes, 3)]

    def times(self) -> str:
        rows = []
        for name, title in self.rows:
            if name in ANCHOR_TITLES:
                continue
            records = [record for style in self.styles for record in self.results.of(name, style) if record is not None]
            training = [record["training"] for record in records]
            counts = [_median((one[key] for one in training), int)
                      for key in ("steps_mapper", "steps_generator", "pictures_generator")]
            rows.append([title, str(len(records)), *counts,
                         _median(one["seconds_mapper"] + one["seconds_generator"] for one in training),
                         _median(record["seconds_measuring"] for record in records)])
        heads = ["method", "cells", "steps of the mapper", "steps of the generator", "pictures", "s training",
                 "s measuring"]
        return "Median of a cell, on whatever else the machine did.\n\n" + table(heads, rows)

    def _texts(self, grid: list[list[Mean | None]], names: Sequence[str], partly: str,
               bold_parts: bool = True) -> list[list[str]]:
        """Return the means as text, the best of every column bold, among the trained methods; equal ones all."""
        texts = [[_shown(mean, name, partly) for mean, name in zip(line, names)] for line in grid]
        for column, better in enumerate(FIGURES[name].better for name in names):
            means = {row: grid[row][column] for row, (name, _) in enumerate(self.rows) if name not in ANCHOR_TITLES}
            values = {row: mean.value for row, mean in means.items() if mean and (mean.whole or bold_parts)}
            best = (max if better == "up" else min)(values.values(), default=None)
            for row in (row for row, value in values.items() if better and value == best):
                texts[row][column] = f"**{texts[row][column]}**"
        return texts

    def _table(self, heads: Iterable[str], cells: Sequence[Sequence[str]]) -> str:
        return table(["method", *heads], [[title, *line] for (_, title), line in zip(self.rows, cells)])


def _progress(results: Results) -> str:
    missing, total = [key for key, record in results.records.items() if record is None], len(results.records)
    if not missing:
        return f"All {total} cells (method, style, seed) are done."
    named = ", ".join(" ".join(str(part) for part in key if part is not None) for key in missing[:_LISTED])
    more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
    return (f"**{total - len(missing)} of {total} cells (method, style, seed) are done**; {NOTHING} marks what is "
            f"missing: {named}{more}.")


def _shown(mean: Mean | None, figure: str, partly: str) -> str:
    """Return a mean as tables print it, followed by `partly` where some of it is missing."""
    if mean is None:
        return NOTHING
    return FIGURES[figure].show(mean.value, mean.deviation) + ("" if mean.whole else partly.format(mean))


def _median(values: Iterable[float], whole: Callable[[float], int] = round) -> str:
    values = list(values)
    return str(whole(statistics.median(values))) if values else NOTHING


def _title(method: Method, name: str) -> str:
    return _escaped(method.title or name)


def _head(name: str) -> str:
    return FIGURES[name].title + {"up": " ↑", "down": " ↓", "": ""}[FIGURES[name].better]


def _code(settings: Iterable[str]) -> str:
    return ", ".join(f"`{_escaped(setting)}`" for setting in settings) or "none"


def _suite(method: Method) -> str:
    return f"suite `{_escaped(method.suite)}`: " if method.suite else ""


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """Return a Markdown table: the first `texts` columns are text, the others numbers."""
    numbers = ["---" if column < texts else "---:" for column in range(len(heads))]
    lines = ["| " + " | ".join(line) + " |" for line in (heads, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(numbers)}|", *lines[1:]])

"""The records of a benchmark, averaged over seeds; nothing is filled in for what is missing."""
from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jittor_ipl.benchmark.figures import BEATEN_IN, COMPARED, FIGURES, MUST_HOLD


@dataclass(frozen=True)
class Mean:
    """Mean of a figure over seeds; `deviation` is the sample's, None for one seed; `done` of `planned` are there."""

    value: float
    deviation: float | None
    done: int
    planned: int

    @property
    def whole(self) -> bool:
        """Whether no seed is missing."""
        return self.done == self.planned


@dataclass
class Results:
    """All planned cells with the records that are done: {cell.key: cell.record()} of every cell.

    records   (method, style, seed) -> record, None where the cell is not done
    """

    records: Mapping[tuple[str, str, "int | None"], "dict[str, Any] | None"]

    def done(self) -> list[dict[str, Any]]:
        """Return the records that are there."""
        return [record for record in self.records.values() if record is not None]

    def known(self, figures: Iterable[str]) -> list[str]:
        """Return those figures that some record has, all while there is no record: real weights have no judges."""
        done = self.done()
        return [name for name in figures if not done or any(name in record["figures"] for record in done)]

    def of(self, method: str, style: str, seeds: Sequence[int] | None = None) -> list["dict[str, Any] | None"]:
        """Return the records of a method's seeds in one style, None where a planned one is missing."""
        return [record for (name, where, seed), record in self.records.items()
                if (name, where) == (method, style) and (seeds is None or seed in seeds)]

    def mean(self, method: str, style: str, figure: str, seeds: Sequence[int] | None = None) -> Mean | None:
        """Return the mean over seeds; None when no planned cell has the figure."""
        planned = self.of(method, style, seeds)
        values = [record["figures"][figure] for record in planned if record is not None and figure in record["figures"]]
        if not values:
            return None
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return Mean(statistics.fmean(values), deviation, len(values), len(planned))

    def over_styles(self, method: str, styles: Sequence[str], figure: str,
                    seeds: Sequence[int] | None = None) -> Mean | None:
        """Return the mean over styles of the means over seeds; only styles with every seed count."""
        means = self.whole_means(method, styles, figure, seeds)
        return Mean(statistics.fmean(mean.value for mean in means), None, len(means), len(styles)) if means else None

    def whole_means(self, method: str, styles: Sequence[str], figure: str,
                    seeds: Sequence[int] | None = None) -> list[Mean]:
        """Return the means over seeds of the styles that have every seed."""
        means = (self.mean(method, style, figure, seeds) for style in styles)
        return [mean for mean in means if mean is not None and mean.whole]


class Contest(NamedTuple):
    """On how many styles ours is strictly better than every peer; `open` styles lack a cell."""

    won: int
    tied: int
    lost: int
    open: int


def contests(results: Results, ours: str, peers: Sequence[str], styles: Sequence[str]) -> dict[str, Contest]:
    """Return the contest of each figure in `BEATEN_IN`, of all these together under "", and of each in `COMPARED`.

    Means over seeds are compared, style by style; together, a style is won when it is in every figure.
    """
    def outcome(style: str, figure: str) -> int:
        """1 better than every peer, 0 equal to the best peer, -1 worse, -2 not all cells are done."""
        means = [results.mean(method, style, figure) for method in (ours, *peers)]
        if not all(mean is not None and mean.whole for mean in means):
            return -2
        sign = -1 if FIGURES[figure].better == "down" else 1
        mine, best = sign * means[0].value, max(sign * mean.value for mean in means[1:])
        return (mine > best) - (mine < best)

    def of(*figures: str) -> Contest:
        outcomes = [min(outcome(style, figure) for figure in figures) for style in styles]
        return Contest(*(outcomes.count(result) for result in (1, 0, -1, -2)))
    beaten, compared = results.known(BEATEN_IN), results.known(COMPARED)
    return {**{figure: of(figure) for figure in beaten}, "": of(*beaten), **{figure: of(figure) for figure in compared}}


def holding(results: Results, method: str, styles: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return for each figure that must hold: on how many styles it does, and how many styles have every seed."""
    means = {figure: results.whole_means(method, styles, figure) for figure in results.known(MUST_HOLD)}
    return {figure: (sum(mean.value >= MUST_HOLD[figure] for mean in every), len(every))
            for figure, every in means.items()}

"""The records of a benchmark, averaged over seeds; nothing is filled in for what is missing."""
from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jittor_ipl.benchmark.figures import BEATEN_IN, COMPARED, FIGURES, MUST_HOLD


@dataclass(frozen=True)
class Mean:
    """Mean of a figure over seeds or styles; `done` of `planned` are there.

    deviation   the sample's over seeds, None for one seed and over styles
    """

    value: float
    deviation: float | None
    done: int
    planned: int

    @property
    def whole(self) -> bool:
        """Whether none is missing."""
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

    def by_seed(self, method: str, style: str, figure: str) -> "dict[int | None, float]":
        """Return the figure of every seed that has it."""
        return {seed: record["figures"][figure] for (name, where, seed), record in self.records.items()
                if (name, where) == (method, style) and record is not None and figure in record["figures"]}

    def counts(self, method: str) -> tuple[int, int]:
        """Return how many of a method's cells are done, and how many are planned."""
        planned = [record for (name, _, _), record in self.records.items() if name == method]
        return sum(record is not None for record in planned), len(planned)

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
        """Return the mean over the styles that have a seed of their means over seeds; `done` counts these styles."""
        means = self.means(method, styles, figure, seeds)
        return Mean(statistics.fmean(mean.value for mean in means), None, len(means), len(styles)) if means else None

    def means(self, method: str, styles: Sequence[str], figure: str, seeds: Sequence[int] | None = None) -> list[Mean]:
        """Return the means over seeds of the styles that have a seed."""
        means = (self.mean(method, style, figure, seeds) for style in styles)
        return [mean for mean in means if mean is not None]


class Contest(NamedTuple):
    """On how many styles ours is strictly better than every peer; `open` styles have no seed that all of them did."""

    won: int
    tied: int
    lost: int
    open: int


def contests(results: Results, ours: str, peers: Sequence[str], styles: Sequence[str]) -> dict[str, Contest]:
    """Return the contest of each figure in `BEATEN_IN`, of all these together under "", and of each in `COMPARED`.

    Means over the seeds that ours and all peers have are compared, style by style; together, a style is won when it is
    in every figure. Peers without any cell are left out.
    """
    met = [peer for peer in peers if results.counts(peer)[0]]

    def outcome(style: str, figure: str) -> int:
        """1 better than every peer, 0 equal to the best peer, -1 worse, -2 nothing to compare."""
        values = [results.by_seed(method, style, figure) for method in (ours, *met)]
        seeds = [seed for seed in values[0] if all(seed in one for one in values)]
        if not met or not seeds:
            return -2
        sign = -1 if FIGURES[figure].better == "down" else 1
        mine, *theirs = (sign * statistics.fmean(one[seed] for seed in seeds) for one in values)
        best = max(theirs)
        return (mine > best) - (mine < best)

    def of(*figures: str) -> Contest:
        outcomes = [min(outcome(style, figure) for figure in figures) for style in styles]
        return Contest(*(outcomes.count(result) for result in (1, 0, -1, -2)))
    beaten, compared = results.known(BEATEN_IN), results.known(COMPARED)
    return {**{figure: of(figure) for figure in beaten}, "": of(*beaten), **{figure: of(figure) for figure in compared}}


def holding(results: Results, method: str, styles: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return for each figure that must hold: on how many styles it does, and how many styles have a seed."""
    means = {figure: results.means(method, styles, figure) for figure in results.known(MUST_HOLD)}
    return {figure: (sum(mean.value >= MUST_HOLD[figure] for mean in every), len(every))
            for figure, every in means.items()}

#!/usr/bin/env python3
"""What 1,000 styles x 100,000 images take on a cluster, by simulating its scheduler with failures.

    python scripts/simulate_cluster.py                          # the table of docs/scale.md
    python scripts/simulate_cluster.py --nodes 64 --slots 8 --hours-between-failures 500

The scheduler is `jobs/ray_engine.py`'s: one driver hands tasks out and brings their results home one at a time, a task
whose node dies begins anew, up to --tries attempts, and a dead node comes back after a while. Times are those of
docs/scale.md, each measured by the command that stands beside it there; other machines' go in as options.
"""
from __future__ import annotations

import argparse
import heapq
import random
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True)
class Cluster:
    """Machines and their faults; times in seconds."""

    nodes: int
    slots: int                      # tasks of a node side by side
    between_failures: float         # mean time of one node, exponential; 0 for none
    back_after: float = 600.0
    store_faults: float = 0.0       # part of the tasks whose attempt the store spoils
    tries: int = 4


@dataclass(frozen=True)
class Work:
    """Equal tasks; times in seconds."""

    tasks: int
    seconds: float                  # of one attempt, start and transfers included
    driver: float                   # of the driver for each: handing over, and bringing the result home
    spread: float = 0.1             # standard deviation of `seconds`, relative


@dataclass
class Outcome:
    """What came of it."""

    seconds: float = 0.0            # from the first task to the last
    done: int = 0
    failed: int = 0
    lost: float = 0.0               # slot seconds in attempts that ended with nothing
    busy: float = 0.0               # slot seconds in attempts that ended well
    deaths: int = 0
    driver: float = 0.0             # seconds in which the driver worked


def simulate(cluster: Cluster, work: Work, seed: int = 0) -> Outcome:
    """Run the tasks through the scheduler and return what came of it; the same seed gives the same."""
    return _Simulation(cluster, work, seed).run()


class _Simulation:
    """Events in the order of their times; an attempt ends at its time unless its node died before."""

    def __init__(self, cluster: Cluster, work: Work, seed: int) -> None:
        self.cluster, self.work, self.random = cluster, work, random.Random(seed)
        self.waiting = deque((number, 1) for number in range(work.tasks))
        self.free = [cluster.slots] * cluster.nodes
        self.life = [0] * cluster.nodes             # how often a node died: attempts of an earlier life are lost
        self.running: list[dict[int, tuple[int, int, float]]] = [{} for _ in range(cluster.nodes)]
        self.events: list[tuple[float, int, str, tuple]] = []
        self.count, self.driver_free, self.idle = 0, 0.0, deque(range(cluster.nodes))
        self.outcome = Outcome()

    def run(self) -> Outcome:
        for node in range(self.cluster.nodes):
            self.plan_death(node, 0.0)
        self.hand_out(0.0)
        while self.events and self.outcome.done + self.outcome.failed < self.work.tasks:
            now, _, kind, about = heapq.heappop(self.events)
            getattr(self, kind)(now, *about)
            self.hand_out(now)
        return self.outcome

    def at(self, time: float, kind: str, *about: int) -> None:
        self.count += 1
        heapq.heappush(self.events, (time, self.count, kind, about))

    def by_driver(self, now: float) -> float:
        """Return when the one driver has done its half of a task's work, which it begins when it is free."""
        self.driver_free = max(now, self.driver_free) + self.work.driver / 2
        self.outcome.driver += self.work.driver / 2
        return self.driver_free

    def hand_out(self, now: float) -> None:
        while self.waiting and self.idle:
            node = self.idle.popleft()
            if not self.free[node]:
                continue
            self.free[node] -= 1
            if self.free[node]:
                self.idle.append(node)
            task, tried = self.waiting.popleft()
            begins, self.count = self.by_driver(now), self.count + 1
            self.running[node][self.count] = task, tried, begins
            length = max(0.0, self.random.gauss(1, self.work.spread)) * self.work.seconds
            self.at(begins + length, "ended", node, self.life[node], self.count)

    def ended(self, now: float, node: int, life: int, key: int) -> None:
        if life != self.life[node]:
            return
        task, tried, begun = self.running[node].pop(key)
        self.free[node] += 1
        self.idle.append(node)
        if self.random.random() < self.cluster.store_faults:
            self.again(task, tried, now - begun)
            return
        self.outcome.busy += now - begun
        self.at(self.by_driver(now), "home")

    def home(self, now: float) -> None:
        self.outcome.done += 1
        self.outcome.seconds = now

    def died(self, now: float, node: int) -> None:
        self.outcome.deaths += 1
        self.life[node] += 1
        for task, tried, begun in self.running[node].values():
            self.again(task, tried, max(0.0, now - begun))
        self.running[node], self.free[node] = {}, 0
        self.at(now + self.cluster.back_after, "back", node)

    def back(self, now: float, node: int) -> None:
        self.free[node] = self.cluster.slots
        self.idle.append(node)
        self.plan_death(node, now)

    def plan_death(self, node: int, now: float) -> None:
        if self.cluster.between_failures:
            self.at(now + self.random.expovariate(1 / self.cluster.between_failures), "died", node)

    def again(self, task: int, tried: int, lost: float) -> None:
        self.outcome.lost += lost
        if tried < self.cluster.tries:
            self.waiting.append((task, tried + 1))
        else:
            self.outcome.failed += 1


def row(name: str, cluster: Cluster, work: Work, seed: int = 0) -> str:
    """Return a line of the table: what the simulation found, beside what the bare product of times says."""
    found, slots = simulate(cluster, work, seed), cluster.nodes * cluster.slots
    bare = max(work.tasks * work.seconds / slots, work.tasks * work.driver)
    return (f"| {name} | {cluster.nodes} x {cluster.slots} | {work.tasks:,} | {found.seconds / 3600:,.1f} "
            f"| {bare / 3600:,.1f} | {found.deaths} | {100 * found.lost / max(1e-9, found.lost + found.busy):.1f} % "
            f"| {found.failed} | {100 * found.driver / max(1e-9, found.seconds):.0f} % |")


HEADING = ("| work | nodes x tasks | tasks | hours | without failures, by division | deaths | lost work | given up "
           "| driver busy |\n|---|---|---|---|---|---|---|---|---|")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--styles", type=int, default=1000)
    parser.add_argument("--images", type=int, default=100_000, help="of each style")
    parser.add_argument("--block", type=int, default=2048, help="images of a task")
    parser.add_argument("--nodes", type=int, nargs="+", default=[16, 64, 256])
    parser.add_argument("--slots", type=int, default=1, help="tasks of a node side by side")
    parser.add_argument("--style-seconds", type=float, required=True, help="of one style's training")
    parser.add_argument("--image-seconds", type=float, required=True, help="of one image")
    parser.add_argument("--start-seconds", type=float, required=True, help="of a task before its work begins")
    parser.add_argument("--driver-seconds", type=float, required=True, help="of the driver for a task")
    parser.add_argument("--image-driver-seconds", type=float, required=True, help="of the driver for each image")
    parser.add_argument("--hours-between-failures", type=float, default=500.0, help="of one node; 0 for none")
    parser.add_argument("--store-faults", type=float, default=0.01, help="part of the attempts")
    given = parser.parse_args()
    print(HEADING)
    blocks = given.styles * -(-given.images // given.block)
    train = Work(given.styles, given.start_seconds + given.style_seconds, given.driver_seconds)
    make = Work(blocks, given.start_seconds + given.block * given.image_seconds,
                given.driver_seconds + given.block * given.image_driver_seconds)
    for nodes in given.nodes:
        cluster = Cluster(nodes, given.slots, 3600 * given.hours_between_failures, store_faults=given.store_faults)
        print(row("training", cluster, train))
        print(row("pictures", cluster, make))


if __name__ == "__main__":
    main()

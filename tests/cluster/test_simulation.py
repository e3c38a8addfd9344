"""The simulation of the scheduler: exact where a closed form is known, and nothing is lost under failures."""
from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "simulate_cluster.py"


@pytest.fixture(scope="module")
def simulation():
    spec = importlib.util.spec_from_file_location("simulate_cluster", SCRIPT)
    module = sys.modules["simulate_cluster"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["simulate_cluster"]


def test_without_failures_it_is_a_division(simulation):
    found = simulation.simulate(simulation.Cluster(3, 2, 0), simulation.Work(60, 7.0, 0.0, spread=0.0))
    assert (found.seconds, found.done, found.failed, found.lost) == (pytest.approx(70.0), 60, 0, 0.0)
    assert found.busy == pytest.approx(60 * 7.0)


def test_a_slow_driver_is_the_bound(simulation):
    found = simulation.simulate(simulation.Cluster(100, 1, 0), simulation.Work(1000, 1.0, 0.5, spread=0.0))
    assert found.seconds == pytest.approx(1000 * 0.5, rel=0.01) and found.driver == pytest.approx(500.0)


def test_failures_cost_what_theory_says_and_lose_nothing(simulation):
    """A node that fails at rate r repeats an attempt of t seconds (exp(rt) - 1) / r seconds long in the mean."""
    cluster = simulation.Cluster(50, 1, 10_000.0, back_after=0.0, tries=100)
    found = simulation.simulate(cluster, simulation.Work(20_000, 1000.0, 0.0, spread=0.0))
    assert (found.done, found.failed) == (20_000, 0) and found.deaths > 1000
    mean = (found.busy + found.lost) / found.done
    assert mean == pytest.approx(10_000.0 * (2.718281828 ** 0.1 - 1), rel=0.01)


def test_spoiled_attempts_are_given_up_after_their_tries(simulation):
    found = simulation.simulate(simulation.Cluster(10, 1, 0, store_faults=0.5, tries=3),
                                simulation.Work(8000, 1.0, 0.0))
    assert found.done + found.failed == 8000 and found.failed == pytest.approx(8000 / 8, rel=0.1)


def test_the_same_seed_gives_the_same(simulation):
    about = simulation.Cluster(5, 2, 100.0, store_faults=0.1), simulation.Work(200, 20.0, 0.1)
    assert simulation.simulate(*about, seed=3) == simulation.simulate(*about, seed=3)
    assert simulation.simulate(*about, seed=3) != simulation.simulate(*about, seed=4)

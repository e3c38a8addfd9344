"""What runs tasks: an engine, of which there are this machine's worker processes and a Ray cluster (`ray_engine`)."""
from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from jittor_ipl.jobs.workers import Answer, answers

Function = Callable[[Any], Any]


@dataclass(frozen=True)
class NodeTask:
    """A piece of work that can be done anywhere, alone, and again.

    name         what progress lines and log files call it
    key          SHA-256 (hex) of all that decides the result: tasks of one key have one result
    request      what the function gets, pickled
    inputs       the files that it reads: name there -> file here; names are relative to the folder where it works
    outputs      the folders that are its result: name there -> folder here
    passed_over  names of files and folders in them that are no result
    """

    name: str
    key: str
    request: Any
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    passed_over: tuple[str, ...] = ()


class Engine(Protocol):
    """Does tasks; what the function writes lies in the tasks' outputs when their answers come."""

    def run(self, function: Function, tasks: Iterable[NodeTask], job: str) -> Generator[Answer, None, None]:
        """Yield `function(task.request)` of every task as the answers come, errors included; `job` names the whole."""


@dataclass(frozen=True)
class LocalEngine:
    """Worker processes on this machine, one for each of `environments`; `fresh` gives every task a new process."""

    environments: Sequence[Mapping[str, str]] = ({},)
    fresh: bool = False

    def run(self, function: Function, tasks: Iterable[NodeTask], job: str) -> Generator[Answer, None, None]:
        """Yield the answers; the files lie here already, and no log or record is kept besides."""
        return answers(partial(_requested, function), tasks, self.environments, self.fresh)


def inputs_of(paths: Iterable[Path]) -> dict[str, str]:
    """Return files as the inputs of a task; what lies in the package is on every node, which has the same one."""
    package = Path(__file__).resolve().parents[1]
    return {str(path): str(path) for path in paths if not path.resolve().is_relative_to(package)}


def _requested(function: Function, task: NodeTask) -> Any:
    return function(task.request)

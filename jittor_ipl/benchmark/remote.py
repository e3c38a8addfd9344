"""Cells as tasks of an engine on other machines. Needs no Jittor here."""
from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from jittor_ipl.adaptation.inputs import run_files
from jittor_ipl.benchmark.plan import Cell
from jittor_ipl.disk.integrity import canonical
from jittor_ipl.images.files import list_images
from jittor_ipl.jobs.engine import Engine, NodeTask, inputs_of
from jittor_ipl.jobs.workers import Answer
from jittor_ipl.runtime.bootstrap import requested_device
from jittor_ipl.runtime.machine import MachineKind, this_machine
from jittor_ipl.runtime.threads import thread_count
from jittor_ipl.weights.refs import locate

FOLDER = "cell"             # where a node works on one


@dataclass(frozen=True)
class CellOnNode:
    """One cell to do on a node."""

    machine: MachineKind
    cell: Cell


def cells_done(engine: Engine, cells: Iterable[Cell], job: str) -> Iterator[Answer]:
    """Yield the answers, a cell's figures or its error, as `answers` does for cells; their records lie here then."""
    machine = this_machine()
    for answer in engine.run(figures_on_node, (_task(cell, machine) for cell in cells), job):
        yield replace(answer, request=answer.request.request.cell)


def figures_on_node(request: CellOnNode) -> dict[str, float]:
    """Train and measure a cell in the folder `cell`: what a node does."""
    request.machine.require_code()
    from jittor_ipl.benchmark.cell import run_cell  # imports Jittor
    return run_cell(replace(request.cell, folder=Path(FOLDER)), "shared")["figures"]


def _task(cell: Cell, machine: MachineKind) -> NodeTask:
    place, networks = cell.place, cell.place.networks
    given = [networks.inception, *networks.lpips, networks.arcface, networks.clip, place.generator]
    files = [locate(ref) for ref in given if ref] + ([] if cell.run is None else run_files(cell.run))
    files += list_images(place.reference) if place.reference else []
    about = [cell.label, cell.identity(), None if cell.run is None else cell.run.model_dump(mode="json"),
             requested_device(), thread_count()]
    name = "-".join(str(part) for part in cell.key if part is not None).replace(" ", "-")
    return NodeTask(name, hashlib.sha256(canonical(about)).hexdigest(), CellOnNode(machine, cell), inputs_of(files),
                {FOLDER: str(cell.folder)})

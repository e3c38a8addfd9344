"""Styles to train and blocks of seeds as tasks of an engine on other machines."""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jittor_ipl.adaptation.inputs import run_files, run_identity
from jittor_ipl.config import LoraRun, StyleRun
from jittor_ipl.disk.integrity import canonical
from jittor_ipl.disk.layout import CHECKPOINTS
from jittor_ipl.disk.names import SUFFIX
from jittor_ipl.errors import UserError
from jittor_ipl.images.files import save_png
from jittor_ipl.images.pixels import pixels_sha256
from jittor_ipl.jobs.engine import Engine, NodeTask, inputs_of
from jittor_ipl.jobs.workers import ordered
from jittor_ipl.runtime.bootstrap import requested_device
from jittor_ipl.runtime.machine import MachineKind, this_machine
from jittor_ipl.runtime.threads import thread_count
from jittor_ipl.submission.demo_data import DEMO, data_folder
from jittor_ipl.submission.produce import made_of
from jittor_ipl.submission.sets import SetEntry
from jittor_ipl.weights.refs import locate

BLOCK = 256                     # pictures of a task: to load the weights takes as long as some of them
RUN, PICTURES = "run", "pictures"   # folders of a task's results, where it works


@dataclass(frozen=True)
class Training:
    """One style to train on a node."""

    machine: MachineKind
    run: StyleRun | LoraRun


@dataclass(frozen=True)
class PictureBlock:
    """Some pictures of one style to make on a node."""

    machine: MachineKind
    entry: SetEntry
    names: tuple[str, ...]
    batch: int


@dataclass(frozen=True)
class Saved:
    """One picture that was made and lies in its file."""

    number: str
    name: str
    pixels_sha256: str
    size: list[int]             # height, width


def train_remotely(engine: Engine, runs: Sequence[StyleRun | LoraRun], root: Path, job: str,
                   tell: Callable[[str], None]) -> dict[str, Exception]:
    """Train styles into `root/<run folder>` on the engine's nodes; return the errors of those that failed, by style.

    What the store holds of the same settings, files, device and number of threads is fetched and not trained again.
    """
    failed, tasks, machine = {}, [], this_machine()
    for run in runs:
        try:
            tasks.append(_training(run, root, machine))
        except UserError as error:      # a file of this style is missing: the others go on
            failed[run.style] = error
    for count, answer in enumerate(engine.run(train, tasks, job), 1):
        run = answer.request.request.run
        if answer.error is not None:
            failed[run.style] = answer.error
            continue
        tell(f"[{count}/{len(tasks)}] {run.folder}: {answer.value['seconds']:.0f} s -> {root / run.folder}")
        if unlike := machine.unlike(answer.value["fingerprint"]):
            tell(f"{run.folder} was trained on another kind of machine ({unlike}): training here would differ in the "
                 "last bits")
    return failed


def train(request: Training) -> dict[str, Any]:
    """Train one style in the folder `run`: what a node does."""
    request.machine.require_code()
    run = request.run
    if isinstance(run, LoraRun):
        from jittor_ipl.diffusion.competition_data import read_style
        from jittor_ipl.diffusion.train_style import train_style
        report = train_style(run, read_style(data_folder(run.data), run.number, run.style), Path(RUN))
    else:
        from jittor_ipl.adaptation.adapt import adapt_style
        report = adapt_style(run, RUN)
    return {"seconds": report.seconds, "fingerprint": this_machine().fingerprint}


def _training(run: StyleRun | LoraRun, root: Path, machine: MachineKind) -> NodeTask:
    if isinstance(run, LoraRun):
        from jittor_ipl.diffusion.competition_data import read_style
        from jittor_ipl.diffusion.train_style import identity_of
        from jittor_ipl.weights.diffusion import sha256_of
        data = read_style(data_folder(run.data), run.number, run.style)
        identity = identity_of(run, data, sha256_of(run.base))
        files = _below(locate(run.base))
        if run.data != DEMO:        # which every node draws for itself
            files += _below(data_folder(run.data) / f"{run.number:02d}")
    else:
        identity, files = run_identity(run), run_files(run)
    key = _key("train", run.model_dump(mode="json"), identity, requested_device(), thread_count())
    return NodeTask(run.folder, key, Training(machine, run), inputs_of(files), {RUN: str(root / run.folder)},
                (CHECKPOINTS,))


def make_remotely(engine: Engine, entries: Sequence[SetEntry], hashes: Mapping[str, tuple[str, str]],
                  wanted: Mapping[str, Sequence[str]], folder: Path, *, batch: int, block: int) -> Iterator[Saved]:
    """Make pictures on the engine's nodes and bring them to `folder/<NN>/<name>.png`; yield them style by style.

    hashes: of each entry's weights and their source, by number. A block that the store holds is not made again.
    """
    machine = this_machine()
    tasks = [_block(entry, hashes[entry.number], names[start:start + block], folder, batch, machine)
             for entry in entries for names in [tuple(wanted[entry.number])] for start in range(0, len(names), block)]
    for answer in ordered(engine.run(make, tasks, f"pictures-{folder.name}")):
        for name, pixels in answer.value["pixels"].items():
            yield Saved(answer.request.request.entry.number, name, pixels, answer.value["size"])


def make(request: PictureBlock) -> dict[str, Any]:
    """Make a block's pictures in the folder `pictures`: what a node does."""
    request.machine.require_code()
    request.machine.require_bits()
    saved = list(saved_in(lambda number: Path(PICTURES), [request.entry],
                          made_of(request.entry, request.names, request.batch)))
    return {"pixels": {one.name: one.pixels_sha256 for one in saved}, "size": saved[0].size}


def saved_in(folder_of: Callable[[str], Path], entries: Sequence[SetEntry], made: Iterator[tuple]) -> Iterator[Saved]:
    """Write pictures as they are made, (number, name, pixels), to `folder_of(number)/<name>.png`."""
    plans = {entry.number: entry.plan for entry in entries}
    for number, name, image in made:
        plan = plans[number]
        save_png(folder_of(number) / f"{name}{SUFFIX}", image, {"style": plan.style, "seed": str(plan.images[name])})
        yield Saved(number, name, pixels_sha256(image), list(image.shape[:2]))


def _block(entry: SetEntry, hashes: tuple[str, str], names: tuple[str, ...], folder: Path, batch: int,
           machine: MachineKind) -> NodeTask:
    plan = entry.plan
    seeds = {name: plan.images[name] for name in names}
    key = _key("pictures", plan.style, plan.recipe.model_dump(mode="json"), hashes, entry.place, seeds,
               machine.fingerprint)
    source = locate(plan.source)
    files = [*entry.files, *([] if plan.source.startswith("demo:") else _below(source))]
    small = replace(entry, plan=plan.model_copy(update={"images": seeds}))     # not a hundred thousand names a task
    return NodeTask(f"{entry.number}-{names[0]}", key, PictureBlock(machine, small, names, batch), inputs_of(files),
                {PICTURES: str(folder / entry.number)})


def _below(path: Path) -> list[Path]:
    """Return a file, or all files of a folder."""
    return sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]


def _key(*parts: Any) -> str:
    return hashlib.sha256(canonical(parts)).hexdigest()

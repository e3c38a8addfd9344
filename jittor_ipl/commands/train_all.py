"""`train-all`, which train_all.sh calls: adapt every style, make the seeded pictures, verify them, show them."""
from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jittor_ipl.commands import options
from jittor_ipl.errors import UserError, in_brief

if TYPE_CHECKING:
    from jittor_ipl.config import LoraRun, StyleRun
    from jittor_ipl.jobs.engine import Engine

SHEET = "sheet.png"     # in the results folder
EXAMPLES = """  python -m jittor_ipl train-all --styles disney,cubism
  python -m jittor_ipl train-all --config demo_lora
  python -m jittor_ipl train-all --config configs/ffhq.yaml --gpus 0,1"""


@click.command(cls=options.Command, examples=EXAMPLES)
@options.suite
@options.styles
@options.new_style
@click.option("--method", default="", help="ipl, nada, teacher or lora.  [default: the suite's]")
@click.option("--gpus", default="", metavar="0,1", help="One process per GPU.  [default: the CPU]")
@options.changes
@options.engine_options
def command(config: Path, styles: tuple[str, ...], new_style: bool, method: str, gpus: str, changes: tuple[str, ...],
            **engine: Any) -> int:
    """Train, generate, verify and show a whole suite (what train_all.sh does). 1 when a style failed or differed."""
    from jittor_ipl.disk.layout import SEEDS, VERIFIED
    started, nodes = time.monotonic(), options.engine_of(**engine)
    if nodes and gpus:
        raise UserError("--gpus deals styles to this machine's GPUs; with --engine ray set JITTOR_IPL_DEVICE=cuda")
    overrides = _overrides(config, method, changes, styles)
    runs = _runs_of(config, overrides, styles, new_style)
    devices, lora = _devices(gpus), runs[0].method == "lora"
    folder, results = Path("runs") / runs[0].suite, Path("results") / runs[0].suite
    if nodes:
        failed = _failed_on(nodes, runs, folder)
    else:
        words = ["dreambooth"] if lora else ["adapt", "--new-style"]
        words += ["--config", config, "--output", folder, *(f"--set={text}" for text in overrides)]
        failed = _failed({run.style: [*words, f"--style={run.style}"] for run in runs}, devices)
    finished = [run for run in runs if run.style not in failed]
    verified = bool(finished) and _make_and_verify(folder, results, finished, devices[:1] if lora else [{}],
                                                   _as_words(engine) if nodes else [])
    from jittor_ipl.submission import lora_summary, summary  # heavy: after the workers' training
    if lora:
        text = lora_summary.lora_table(lora_summary.lora_rows(runs, folder, results, results / VERIFIED))
    else:
        text = summary.table(summary.rows(runs, folder, results, results / VERIFIED))
    print(f"\n{text}\n")
    if (results / SEEDS).is_file():
        try:
            if lora:
                lora_summary.write_lora_sheet(results / SHEET, runs, results)
            else:
                summary.write_sheet(results / SHEET, results)
            print(f"pictures: {results}   contact sheet: {results / SHEET}")
        except UserError as error:      # what failed is still to be told
            click.echo(f"warning: {error}", err=True)
    if failed:
        click.echo(f"failed: {', '.join(failed)} (see above; run again to retry)", err=True)
    print(f"{len(finished)} of {len(runs)} styles done in {time.monotonic() - started:.0f} s")
    return int(bool(failed) or not verified)


def _runs_of(config: Path, overrides: Sequence[str], styles: Sequence[str],
             new_style: bool) -> list[StyleRun] | list[LoraRun]:
    """Return the runs of these styles, of either kind of suite."""
    from jittor_ipl.config import choose_lora_runs, choose_runs, load_lora_suite, load_suite, method_of
    from jittor_ipl.submission.demo_data import data_folder
    from jittor_ipl.weights.diffusion import sound_pipeline
    if method_of(config, overrides) != "lora":
        return choose_runs(load_suite(config, overrides, styles), styles, new_style)
    suite = load_lora_suite(config, overrides)
    data_folder(suite.data)     # once, before several workers look for it
    sound_pipeline(suite.base)  # 28 styles would each tell the same
    return choose_lora_runs(suite, styles)


def _overrides(config: Path, method: str, changes: Sequence[str], styles: Sequence[str]) -> list[str]:
    """Return the settings that the call changes; another method than the suite's own gets folders of its own."""
    from jittor_ipl.config import load_suite, method_of
    own = method_of(config, changes)
    if "lora" in (method, own) and method not in ("", own):
        raise UserError(f"METHOD {method!r} does not fit {config}, whose method is {own}: suites of LoRA are "
                        "demo_lora, jittor_a and jittor_b; the others take ipl, nada and teacher")
    if not method or own == "lora":
        return list(changes)
    suite = load_suite(config, [*changes, f"method={method}"], styles)
    by_clip = config.with_name(f"{config.stem}_clip{config.suffix}")
    if own == "teacher" != method and by_clip.is_file():
        options.note(f"{config} has numbers for a teacher, not for {method}: {by_clip} has those for CLIP alone")
    name = suite.suite if method == own else f"{suite.suite}-{method}"
    return [*changes, f"method={method}", f'suite="{name}"']


def _devices(text: str) -> list[dict[str, str]]:
    """Return the environment of each worker: one per GPU of "0,1", or the CPU alone."""
    numbers = re.split(r"[,\s]+", text.strip()) if text.strip() else []
    if not all(number.isascii() and number.isdigit() for number in numbers):
        raise UserError(f"GPUS {text!r} is not a list of numbers such as 0,1")
    return [{"CUDA_VISIBLE_DEVICES": number, "JITTOR_IPL_DEVICE": "cuda"} for number in numbers] or [{}]


def _make_and_verify(folder: Path, results: Path, runs: list[StyleRun] | list[LoraRun],
                     devices: Sequence[Mapping[str, str]], where: Sequence[str]) -> bool:
    """Make the pictures, `where` words of the engine say, those of a base model beside its LoRA's too, and compare with
    what this machine makes; tell whether all ended well.
    """
    from jittor_ipl.disk.layout import VERIFIED
    words, verified = ["--weights", folder, *(f"--style={run.style}" for run in runs)], results / VERIFIED
    verified.unlink(missing_ok=True)  # an older proof must not be shown where this one fails
    make, first = {"run_all.py": ["build", *words, *where]}, runs[0]
    if first.method == "lora":
        make["run_all.py"] += ["--demo"] if first.data == "demo" else []
        if any(run.base_caption is not None for run in runs):
            make["run_all.py --base"] = ["build", *words, *where, "--base"]
    return not (_failed(make, devices) or _failed({"test.py": ["verify", *words, "--json", verified]}, devices))


def _failed(commands: Mapping[str, Sequence[object]], devices: Sequence[Mapping[str, str]] = ({},)) -> list[str]:
    """Run commands in processes of their own, one at a time per device; tell errors in a line, return what failed."""
    from jittor_ipl.jobs.workers import answers
    names, failed = list(commands), []
    for answer in answers(_run, [[*map(str, words)] for words in commands.values()], devices, fresh=True):
        name, error = names[answer.number], answer.error
        if error is not None:
            fault = "" if isinstance(error, (UserError, OSError)) else f"internal fault, {type(error).__name__}: "
            click.echo(f"error: {name}: {fault}{in_brief(error)}", err=True)
        if error is not None or answer.value:
            failed.append(name)
    return failed


def _failed_on(engine: Engine, runs: Sequence[StyleRun | LoraRun], folder: Path) -> list[str]:
    """Train styles on other machines; tell errors in a line, return what failed."""
    from jittor_ipl.submission.remote import train_remotely
    failed = train_remotely(engine, runs, folder, f"train-{folder.name}", lambda line: click.echo(line, err=True))
    for name, error in failed.items():
        click.echo(f"error: {name}: {in_brief(error)}", err=True)
    return list(failed)


def _as_words(engine: Mapping[str, Any]) -> list[str]:
    """Return the options of an engine as words of a call."""
    return [f"--{name.replace('_', '-')}={value}" for name, value in engine.items() if value is not None]


def _run(words: list[str]) -> int:
    """Run one command here, in a worker's process; what it raises goes to the parent."""
    from jittor_ipl.commands import adapt, build, dreambooth, verify
    command = {"adapt": adapt, "build": build, "dreambooth": dreambooth, "verify": verify}[words[0]].command
    with command.make_context(words[0], words[1:]) as context:
        return command.invoke(context)

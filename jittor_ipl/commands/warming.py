"""What `doctor --warm` runs: small forms of the other commands, so that all kernels they need are compiled ahead."""
from __future__ import annotations

import contextlib
import importlib
import io
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from jittor_ipl.errors import UserError

# A teacher's adaptation as it is, but for its numbers: kernels do not depend on them.
_TAUGHT = ("teacher.pairs.count=8", "teacher.pairs.steps=2", "teacher.pairs.sampling_steps=2", "teacher.scores.steps=2",
           "run.samples=2", "run.sample_every=1", "run.checkpoint_every=1")
_BY_CLIP = ("mapper.steps=2", "generator.steps=2", "run.samples=2")
_LORA = ("lora.steps=2",)


def tasks(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """Return what for people -> command and arguments, in an order in which each finds what it reads in `folder`."""
    pictures, runs = folder / "pictures", folder / "runs"
    return {
        "pictures": ("generate", ["--weights", "demo:generator", "--seeds", "0-1", "--outdir", str(pictures)]),
        "adaptation by a teacher": ("adapt", ["--config", "demo", "--style", "disney", *_settings(_TAUGHT),
                                              "--output", str(runs / "taught")]),
        "adaptation by CLIP": ("adapt", ["--config", "demo_clip", "--style", "disney", *_settings(_BY_CLIP),
                                         "--output", str(runs / "clip")]),
        "a style from pictures": ("dreambooth", ["--style", "ukiyo-e", *_settings(_LORA),
                                                 "--output", str(runs / "lora")]),
        "edits": ("edit.direction", ["--seeds", "0", "--target", "happy face", "--outdir", str(folder / "edits")]),
        "photographs": ("invert", [str(pictures / "seed0000.png"), "--styles", "none", "--outdir",
                                   str(folder / "inverted")]),
    }


def warm() -> int:
    """Run every task, with a bar on stderr, and return how many there were; UserError names the one that failed.

    SIGINT and SIGTERM end the task that they meet, and a line says what stays.
    """
    from tqdm import tqdm

    from jittor_ipl.jobs.signals import Interrupted, raised_once
    from jittor_ipl.runtime.backend import jt  # noqa: F401 - has handlers of its own, which ours follow
    try:
        with raised_once(), tempfile.TemporaryDirectory(prefix="jittor_ipl-") as name:
            chosen = tasks(Path(name))
            with tqdm(chosen.items(), desc="kernels", unit="task", disable=None) as bar:
                for what, (command, arguments) in bar:
                    bar.set_postfix_str(what)
                    _run(what, command, arguments)
    except (KeyboardInterrupt, Interrupted) as stopped:
        click.echo("stopped: the kernels compiled so far stay; doctor --warm goes on with the others", err=True)
        raise Interrupted(getattr(stopped, "signal", signal.SIGINT)) from None
    return len(chosen)


def _run(what: str, name: str, arguments: Sequence[str]) -> None:
    """Run a command without what it tells; UserError with the end of that, or with the reason, where it fails."""
    command = importlib.import_module(f"jittor_ipl.commands.{name}").command
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            with command.make_context(name, list(arguments)) as context:     # `main` would turn Ctrl-C into an error
                code = command.invoke(context)
        except UserError as error:
            raise UserError(f"the kernels of {what} were not all compiled: {error}") from error
    if code:
        raise UserError(f"the kernels of {what} were not all compiled: {told.getvalue().strip()[-300:]}")


def _settings(changes: Sequence[str]) -> list[str]:
    return [part for change in changes for part in ("--set", change)]

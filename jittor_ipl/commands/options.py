"""What the commands share: options, both spellings of a name, examples in the help."""
from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jittor_ipl.errors import UserError

if TYPE_CHECKING:
    from jittor_ipl.jobs.engine import Engine

DEVICE = "JITTOR_IPL_DEVICE"
CHECKOUT = Path(__file__).resolve().parents[2]  # where B_weight lies, in a checkout
# `_` counts as `-` in every name: both spellings are right.
CONTEXT = {"token_normalize_func": lambda name: name.replace("_", "-"), "help_option_names": ["-h", "--help"],
           "show_default": True, "terminal_width": 100}


class Option(click.Option):
    """An option with a heading of its own in the help; with `several`, more than one value may follow its name.

    lists: the one of its names whose value is a list, A,B; what it names may then be given again, too.
    """

    def __init__(self, *args: Any, heading: str = "options", several: bool = False, lists: str = "", **more: Any):
        super().__init__(*args, **more, multiple=several or bool(lists))
        self.heading, self.several, self.lists = heading, several, lists


class Command(click.Command):
    """A command that shows examples, knows --device and --debug, and never takes an option for another's value.

    `needs_device=False` leaves it to the command to look whether the device is there.
    """

    def __init__(self, *args: Any, examples: str, needs_device: bool = True, **more: Any):
        super().__init__(*args, **{"context_settings": CONTEXT, **more})
        self.examples, self.needs_device = examples, needs_device
        self.params.append(click.Option(["--device"], type=click.Choice(["cpu", "cuda"]), envvar=DEVICE,
                                        show_envvar=True, expose_value=False, callback=_choose_device,
                                        help="Where to compute; cuda is one NVIDIA GPU."))
        self.params.append(click.Option(["--debug"], is_flag=True, expose_value=False,
                                        help="Show the traceback of an error."))

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words of a call; raises `click.UsageError`."""
        named = {name: param for param in self.params if isinstance(param, click.Option) and not param.is_flag
                 and not isinstance(param.flag_value, str) for name in param.opts}
        try:
            return super().parse_args(ctx, _with_values(ctx, args, named))
        except click.UsageError as error:
            error.ctx = error.ctx or ctx      # click leaves it out of some, and messages name the command
            raise

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings, then the commands of a group."""
        headings: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record:
                headings.setdefault(getattr(param, "heading", "options"), []).append(record)
        for heading, records in headings.items():
            with formatter.section(heading):
                formatter.write_dl(records)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        formatter.write(f"\nexamples:\n{self.examples}\n")


class Group(Command, click.Group):
    """A command of commands."""


def _choose_device(ctx: click.Context, param: click.Parameter, name: str | None) -> None:
    """Tell the process and its workers where to compute; raises `UserError` for a GPU that cannot be used."""
    if name is None or ctx.resilient_parsing:
        return
    os.environ[DEVICE] = name
    if name == "cuda" and ctx.command.needs_device and not isinstance(ctx.command, Group):
        from jittor_ipl.runtime import cuda
        cuda.require()


def _with_values(ctx: click.Context, args: Sequence[str], named: Mapping[str, click.Option]) -> list[str]:
    """Return the words with the name of an option of several values before each of them; UsageError for one without."""
    words, rest = [], list(args)
    while rest:
        word = rest.pop(0)
        name, joined, value = word.partition("=")
        option = named.get(ctx.token_normalize_func(name))
        lists = option is not None and ctx.token_normalize_func(name) == getattr(option, "lists", "")
        if word == "--":
            return [*words, word, *rest]
        if option is None or joined and not lists:
            words.append(word)
            continue
        if not joined and (not rest or _is_name(rest[0])):
            raise click.BadOptionUsage(name, f"{name} needs a value", ctx)
        values = [value if joined else rest.pop(0)]
        while getattr(option, "several", False) and rest and not _is_name(rest[0]):
            values.append(rest.pop(0))
        words += [part for one in (_listed(ctx, name, values[0]) if lists else values)
                  for part in (option.opts[0] if lists else name, one)]
    return words


def _listed(ctx: click.Context, name: str, text: str) -> list[str]:
    """Return what a list A,B names, [] of an empty one; UsageError for commas alone."""
    found = [part.strip() for part in text.split(",") if part.strip()]
    if text and not found:
        raise click.BadOptionUsage(name, f"{name} {text!r} names no style: write disney,cubism", ctx)
    return found


def _is_name(word: str) -> bool:
    """Tell an option's name from a value, which may be a negative number or begin with a dash and have blanks."""
    return word.startswith("-") and word[1:2] not in ("", ".", *"0123456789") and " " not in word


def note(text: str) -> None:
    """Print a remark to the errors' stream."""
    click.echo(f"note: {text}", err=True)


def positive(value: object) -> int:
    """Return a whole number from 1 on; raises `click.BadParameter` for anything else."""
    text = str(value)
    if not (text.isascii() and text.isdigit() and int(text) >= 1):
        raise click.BadParameter(f"{text!r} is not a whole number from 1 on")
    return int(text)


def suite_file(name: str) -> Path:
    """Return the file of a suite or a benchmark; a shipped one that stands in for a path is told in a line."""
    from jittor_ipl.config import suite_path
    path = suite_path(name)
    if str(path) != name and Path(name).parent != Path():
        note(f"there is no {name} here; this is the one that ships, {path}")
    return path


def shipped(name: str) -> str:
    """Return a path as it is, or where it leads in the checkout: B_weight is found from anywhere, told in a line."""
    found = CHECKOUT / name
    if Path(name).parts[:1] != ("B_weight",) or Path(name).exists() or not found.exists():
        return name
    note(f"there is no {name} here; this is the one that ships, {found}")
    return str(found)


suite = click.option("--config", "--config-file", default="demo", metavar="SUITE",
                     callback=lambda ctx, param, name: suite_file(name),
                     help="A suite's file, or the name of one that ships.")
styles = click.option("--style", "--styles", "--target-class", "styles", cls=Option, lists="--styles", metavar="NAME",
                      help="A style of the suite or any other words; may be given again, or as --styles A,B.  "
                           "[default: all of the suite]")
new_style = click.option("--new-style", is_flag=True, help="Take the words as they are, however near a listed style.")
made_styles = click.option("--style", "--styles", "styles", cls=Option, lists="--styles", metavar="NAME",
                           help="Only this style, by name or number; may be given again, or as --styles A,B.")
changes = click.option("--set", "changes", multiple=True, metavar="KEY=VALUE",
                       help="Change any setting: generator.steps=10")
runs = click.option("--output", "--output-dir", "--outdir", metavar="DIR",
                    help="Folder of the runs.  [default: runs/<suite>]")
resume = click.option("--resume", "--resume-from-checkpoint", is_flag=False, flag_value="latest",
                      type=click.Choice(["latest"]), expose_value=False,
                      help="Go on after the last checkpoint: always done, accepted for habit's sake.")
restart = click.option("--restart", is_flag=True, help="Forget what the run folder holds and begin anew.")
dry_run = click.option("--dry-run", "-n", is_flag=True, help="Print the resolved configuration and stop.")
batch = click.option("--batch", "--batch-size", type=positive, default=8, metavar="N",
                     help="Pictures handed to Jittor at once; changes no pixel.")
workers = click.option("--workers", type=positive, default=1, metavar="N", help="Processes; changes no pixel.")
skip_bad = click.option("--skip-bad", is_flag=True, help="Leave damaged pictures out, and count them.")
report_json = click.option("--json", "json_file", metavar="FILE", help="Write the outcome as JSON too.")
report_markdown = click.option("--markdown", "markdown_file", metavar="FILE", help="Write it as Markdown too.")
container = click.option("--container", metavar="KEY",
                         help="Of a checkpoint with several networks the one under this key.")


def engine_options(function: Callable[..., int]) -> Callable[..., int]:
    """Add the options that say where tasks run; `engine_of` takes their values."""
    heading = {"cls": Option, "heading": "several machines"}
    for option in (
            click.option("--tries", type=positive, default=4, metavar="N", help="Attempts of a task.", **heading),
            click.option("--store", metavar="URL", help="The one place that all nodes share: s3://bucket/prefix, or a "
                         "folder that each of them sees.", **heading),
            click.option("--ray-address", metavar="HOST:PORT", help="Head of a running cluster, on loopback or a "
                         "private network.  [default: one that is started here]", **heading),
            click.option("--engine", type=click.Choice(["local", "ray"]), default="local", help="What runs the tasks.",
                         **heading)):
        function = option(function)
    return function


def engine_of(engine: str, ray_address: str | None, store: str | None, tries: int) -> Engine | None:
    """Return the engine that the options name, None for the local one; UserError for options that do not go together.

    A task has as many threads as work here would have, and a GPU where JITTOR_IPL_DEVICE asks for one.
    """
    if engine == "local":
        if ray_address or store:
            raise UserError("--ray-address and --store belong to --engine ray")
        return None
    if not store:
        raise UserError("--engine ray needs --store: s3://bucket/prefix, or a folder that all nodes see")
    from jittor_ipl.disk.objects import ObjectStore
    from jittor_ipl.jobs.ray_engine import RayEngine, find_ray
    from jittor_ipl.runtime.bootstrap import requested_device
    from jittor_ipl.runtime.threads import thread_count
    find_ray()
    device, threads = requested_device(), thread_count()
    return RayEngine(ray_address, ObjectStore(store), tries, cpus=threads, gpus=int(device == "cuda"),
                     logs=Path("logs"), environment={"OMP_NUM_THREADS": str(threads), DEVICE: device})

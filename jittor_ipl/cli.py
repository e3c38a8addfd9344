"""The command line: `python -m jittor_ipl COMMAND`, and what run_all.py, test.py and train_all.sh call.

A command is a file of `jittor_ipl.commands` and one word in COMMANDS; its file is imported when it is named or listed,
and imports Jittor, NumPy and Pillow only when it runs. Exit codes: 0 done, 1 the verification found differences, the
doctor a fault or inspect a problem, 2 a mistake of the user's, 3 one of ours, 130 Ctrl-C, 141 nobody reads on.
"""
from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence

import click

from jittor_ipl import __version__
from jittor_ipl.commands.options import Group
from jittor_ipl.errors import UserError, in_brief, nearest
from jittor_ipl.runtime.memory import lack_of_memory
from jittor_ipl.runtime.requirements import requirements_of

COMMANDS = ("adapt", "dreambooth", "generate", "build", "verify", "train-all", "summary", "release", "evaluate",
            "score", "edit", "align", "invert", "inspect", "convert", "prompts", "doctor", "benchmark", "ui")
EXAMPLES = """  python -m jittor_ipl doctor
  python -m jittor_ipl adapt --style disney
  python -m jittor_ipl generate --weights runs/demo/00-disney --seeds 0-7
  python -m jittor_ipl verify --sample 10"""


class Commands(Group):
    """The group of all commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the command of this name, None when there is none."""
        return command_named(name) if name in COMMANDS else None


def command_named(name: str) -> click.Command:
    """Import and return one of COMMANDS."""
    return importlib.import_module(f"jittor_ipl.commands.{name.replace('-', '_')}").command


def main(argv: Sequence[str] | None = None) -> int:
    """Run `python -m jittor_ipl` with `argv` (default: the process's) and return the exit code."""
    group = Commands(examples=EXAMPLES, help="Text-driven image-domain adaptation on Jittor.", no_args_is_help=False,
                     subcommand_metavar="COMMAND")
    click.version_option(__version__, message=f"jittor_ipl {__version__}")(group)
    return run(group, "python -m jittor_ipl", argv)


def run_all(argv: Sequence[str] | None = None) -> int:
    """Run `run_all.py` and return the exit code."""
    return run(command_named("build"), "run_all.py", argv)


def verify(argv: Sequence[str] | None = None) -> int:
    """Run `test.py` and return the exit code."""
    return run(command_named("verify"), "test.py", argv)


def run(command: click.Command, program: str, argv: Sequence[str] | None = None) -> int:
    """Parse, run the command, and turn every way out into an exit code and at most one line."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        with command.make_context(program, list(argv)) as context:
            return command.invoke(context)
    except click.exceptions.Exit as end:      # --help and --version
        return end.exit_code
    except click.UsageError as error:
        return fail(argv, _usage(error), 2)
    except UserError as error:
        return fail(argv, str(error), 2)
    except KeyboardInterrupt:
        return fail(argv, "stopped", 130)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        sys.stderr.close()
        return 141
    except OSError as error:
        return fail(argv, _of_system(error), 2)
    except ImportError as error:
        if (error.name or "").startswith("jittor_ipl"):
            raise
        return fail(argv, _of_package(error), 2)
    except Exception as error:  # noqa: BLE001 - the last line of defence: printed, never hidden
        if (missing := lack_of_memory(error)) is not None:
            return fail(argv, f"out of memory: {missing}; lower the batch, the picture size or the workers", 2)
        return fail(argv, f"internal fault, {type(error).__name__}: {in_brief(error)}", 3)


def fail(argv: Sequence[str], message: str, code: int) -> int:
    """Print `message` as one line (with the traceback before it under --debug) and return `code`."""
    if "--debug" in argv:
        traceback.print_exc()
    hint = " (run again with --debug to see where)" if code == 3 and "--debug" not in argv else ""
    print(f"error: {' '.join(message.split())}{hint}", file=sys.stderr, flush=True)
    return code


def _usage(error: click.UsageError) -> str:
    """Say what is wrong with a call, the nearest right word, and whose help to read."""
    context = error.ctx
    assert context is not None, error
    command, message = context.command, error.format_message()
    if isinstance(error, click.NoSuchOption):
        known = [name for param in command.params if not getattr(param, "hidden", True) for name in param.opts]
        message = f"unknown argument {error.option_name!r}{nearest(error.option_name, known)}"
    elif isinstance(error, click.exceptions.NoSuchCommand):
        near = nearest(error.command_name, command.list_commands(context))
        message = f"unknown command {error.command_name!r}{near}"
    elif isinstance(error, click.MissingParameter):
        missing = error.param
        names = missing.opts[0] if isinstance(missing, click.Option) else missing.make_metavar(context)
        message = f"the following arguments are required: {names}"
    elif isinstance(command, click.Group) and message == "Missing command.":
        message = f"the following arguments are required: {command.subcommand_metavar}"
    return f"{message} (see {context.command_path} --help)"


def _of_package(error: ImportError) -> str:
    """Say which package is missing, or does not load: most often one that PYTHONPATH brings from another Python."""
    places = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    file = requirements_of(error.name, places)
    if isinstance(error, ModuleNotFoundError):
        return (f"the Python package {error.name!r} is missing here: activate the environment that the scripts made "
                f"(source .venv/bin/activate) or run: pip install -r {file}")
    return (f"a Python package does not load, {places[-1]!r} ({in_brief(error, 100)}): unset PYTHONPATH where it names "
            f"another environment, or run: pip install --force-reinstall -r {file}")


def _of_system(error: OSError) -> str:
    """Say what the system refused and where, without its number and with an endless path cut."""
    if error.strerror is None or error.filename is None:
        return error.strerror or str(error)
    name = str(error.filename)
    return f"{error.strerror}: {name if len(name) <= 300 else name[:299] + '…'!r}"

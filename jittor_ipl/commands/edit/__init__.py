"""`edit`: change faces by words. An action is one line of ACTIONS; its file is imported when it is named or listed."""
from __future__ import annotations

import importlib

import click

from jittor_ipl.commands import options

# The action's name -> the file in this folder and the function in it.
ACTIONS = {
    "direction": "direction.command", "prepare": "prepare.command",
    "optimize": "optimize.command", "train-mapper": "mapper.train", "mapper": "mapper.command",
    "fast": "fast.command", "movie": "movie.command"}
EXAMPLES = """  python -m jittor_ipl edit direction --seeds 0-3 --neutral face --target "happy face"
  python -m jittor_ipl edit prepare --weights demo:generator"""


class Actions(options.Group):
    """The group of all actions."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names in the order of the help."""
        return list(ACTIONS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Return the action of this name, None when there is none."""
        if name not in ACTIONS:
            return None
        file, _, function = ACTIONS[name].partition(".")
        return getattr(importlib.import_module(f"{__name__}.{file}"), function)


command = Actions(name="edit", examples=EXAMPLES, no_args_is_help=False, subcommand_metavar="ACTION",
                  help="Change faces by words: with directions that hold for all faces, or made for one.")

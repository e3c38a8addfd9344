"""`ui`: the web page and its JSON API."""
from __future__ import annotations

from pathlib import Path

import click

from jittor_ipl.commands import options
from jittor_ipl.errors import UserError

EXAMPLES = """  python -m jittor_ipl ui
  python -m jittor_ipl ui --port 8000 --lang zh
  python -m jittor_ipl ui --auth-file runs/users.txt --add-user anna
  python -m jittor_ipl ui --auth-file runs/users.txt --host 0.0.0.0"""


@click.command(cls=options.Command, examples=EXAMPLES)
@click.option("--host", "--server-name", default="127.0.0.1", metavar="ADDRESS",
              help="Where it listens; others than this machine's own need --auth-file.")
@click.option("--port", "--server-port", type=click.IntRange(0, 65535), default=7860, metavar="N",
              help="0 takes any that is free.")
@click.option("--auth-file", "auth", metavar="FILE", help="Users who may sign in; nobody else may do anything then.")
@click.option("--add-user", metavar="NAME", help="Ask for a password, write the user into --auth-file, and stop.")
@click.option("--queue", type=options.positive, default=32, metavar="N", help="Jobs that may wait.")
@click.option("--keep", type=options.positive, default=12, metavar="N", help="Generators kept in memory.")
@click.option("--runs", default="runs/webui", metavar="DIR", help="Folder of styles learnt on the page, and of jobs.")
@click.option("--trained", multiple=True, metavar="DIR",
              help="Folder of suites to choose styles from; may be given again.  [default: B_weight and runs]")
@click.option("--results", default="results", metavar="DIR", help="Folder of what run_all.py made.")
@click.option("--lang", "language", type=click.Choice(["en", "zh"]), default="en", help="Language to begin with.")
def command(host: str, port: int, auth: str | None, add_user: str | None, queue: int, keep: int, runs: str,
            trained: tuple[str, ...], results: str, language: str) -> int:
    """Serve the web page: styles, own pictures, edits by words, new styles."""
    from jittor_ipl.webui.settings import ServerSettings
    file = None if auth is None else Path(auth)
    if add_user is not None:
        return _add(file, add_user)
    folders = tuple(map(Path, trained)) or (Path(options.shipped("B_weight")), Path("runs"))
    settings = ServerSettings(host, port, Path(runs), folders, Path(results), file, queue, keep, language)
    from jittor_ipl.webui.serve import serve
    serve(settings)
    return 0


def _add(file: Path | None, name: str) -> int:
    from jittor_ipl.webui.accounts import add_user
    if file is None:
        raise UserError("--add-user writes into a file of users: give --auth-file FILE, too")
    add_user(file, name, click.prompt("password", hide_input=True, confirmation_prompt=True, err=True))
    print(f"{name} -> {file}")
    return 0

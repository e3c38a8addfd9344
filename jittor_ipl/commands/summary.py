"""`summary`: a suite's table and contact sheet."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jittor_ipl.commands import options

if TYPE_CHECKING:
    from jittor_ipl.config import StyleRun, Suite

EXAMPLES = """  python -m jittor_ipl summary --sheet results/demo-sheet.png"""


@click.command(cls=options.Command, examples=EXAMPLES)
@options.suite
@options.made_styles
@click.option("--runs", metavar="DIR", help="[default: runs/<suite>]")
@click.option("--results", metavar="DIR", help="[default: results/<suite>]")
@click.option("--verified", metavar="FILE", help="What test.py --json wrote.")
@click.option("--sheet", metavar="FILE", help="Write the contact sheet here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def command(config: Path, styles: tuple[str, ...], runs: str | None, results: str | None, verified: str | None,
            sheet: str | None, as_json: bool) -> int:
    """Print the table of a suite's runs and write their contact sheet."""
    from jittor_ipl.config import load_suite
    from jittor_ipl.submission.summary import rows, table, to_json, write_sheet
    suite = load_suite(config)
    folder, pictures = Path(runs or Path("runs") / suite.suite), Path(results or Path("results") / suite.suite)
    known = {run.style: run for run in [*suite.runs(), *_unlisted(suite, folder)]}
    chosen = [known.get(style) or suite.run_of(style) for style in dict.fromkeys(styles)] or list(known.values())
    found = rows(chosen, folder, pictures, Path(verified) if verified else None)
    print(to_json(found) if as_json else table(found))
    if sheet:
        write_sheet(Path(sheet), pictures)
        click.echo(f"contact sheet -> {sheet}", err=as_json)
    return 0


def _unlisted(suite: Suite, folder: Path) -> list[StyleRun]:
    """Return the runs in the folder of a suite whose styles it does not list."""
    from jittor_ipl.config import load_style_run
    from jittor_ipl.disk.layout import CONFIG
    runs = [load_style_run(path) for path in sorted(folder.glob(f"*/{CONFIG}"))]
    return [run for run in runs if run.suite == suite.suite and not suite.lists(run.style)]

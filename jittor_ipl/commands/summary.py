"""`summary`: a suite's table and contact sheet."""
from __future__ import annotations

from pathlib import Path

import click

from jittor_ipl.commands import options
from jittor_ipl.errors import UserError, nearest_file

EXAMPLES = """  python -m jittor_ipl summary --sheet results/demo-sheet.png"""


@click.command(cls=options.Command, examples=EXAMPLES)
@options.suite
@options.made_styles
@click.option("--runs", metavar="DIR", help="[default: runs/<suite>]")
@click.option("--results", metavar="DIR", help="[default: results/<suite>]")
@click.option("--verified", metavar="FILE",
              help="What test.py wrote with --json.  [default: what train_all.sh left in the results]")
@click.option("--sheet", metavar="FILE", help="Write the contact sheet here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of the table.")
def command(config: Path, styles: tuple[str, ...], runs: str | None, results: str | None, verified: str | None,
            sheet: str | None, as_json: bool) -> int:
    """Print the table of a suite's runs and write their contact sheet."""
    from jittor_ipl.config import StyleRun, load_config, load_suite, method_of
    from jittor_ipl.disk.layout import CONFIG
    if method_of(config) == "lora":
        return _of_lora(config, styles, runs, results, verified, sheet, as_json)
    from jittor_ipl.submission.summary import rows, table, to_json, write_sheet
    suite = load_suite(config)
    folder, pictures = Path(runs or Path("runs") / suite.suite), Path(results or Path("results") / suite.suite)
    # The suite may not list them.
    others = [load_config(path, StyleRun) for path in sorted(folder.glob(f"*/{CONFIG}"))]
    known = {run.style: run for run in [*others, *suite.runs()] if run.suite == suite.suite}
    chosen = [known.get(style) or suite.run_of(style) for style in dict.fromkeys(styles)] or \
        sorted(known.values(), key=lambda run: run.number)
    found = rows(chosen, folder, pictures, _proof(verified, pictures))
    print(to_json(found) if as_json else table(found))
    if sheet:
        write_sheet(Path(sheet), pictures)
        click.echo(f"contact sheet -> {sheet}", err=as_json)
    return 0


def _of_lora(config: Path, styles: tuple[str, ...], runs: str | None, results: str | None, verified: str | None,
             sheet: str | None, as_json: bool) -> int:
    from jittor_ipl.config import choose_lora_runs, load_lora_suite
    suite = load_lora_suite(config)
    folder, pictures = Path(runs or Path("runs") / suite.suite), Path(results or Path("results") / suite.suite)
    chosen = choose_lora_runs(suite, styles)
    from jittor_ipl.submission.lora_summary import lora_rows, lora_table, write_lora_sheet
    from jittor_ipl.submission.summary import to_json
    found = lora_rows(chosen, folder, pictures, _proof(verified, pictures))
    print(to_json(found) if as_json else lora_table(found))
    if sheet:
        write_lora_sheet(Path(sheet), chosen, pictures)
        click.echo(f"contact sheet -> {sheet}", err=as_json)
    return 0


def _proof(given: str | None, results: Path) -> Path:
    """Return the file of `--verified`, else the one that train_all.sh leaves in `results`, which may be missing."""
    from jittor_ipl.disk.layout import VERIFIED
    if given is not None and not Path(given).is_file():
        raise UserError(f"there is no file {given!r}{nearest_file(given)}: test.py --json {given} writes it")
    return results / VERIFIED if given is None else Path(given)

"""`adapt`: train the styles of a suite, or any other words."""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jittor_ipl.commands import options
from jittor_ipl.commands.settings import as_overrides, settings_options

if TYPE_CHECKING:
    from jittor_ipl.config import StyleRun

EXAMPLES = """  python -m jittor_ipl adapt --style disney
  python -m jittor_ipl adapt --style "zombie" --config configs/ffhq.yaml
  python -m jittor_ipl adapt --style "anime painting" --method ipl --set generator.steps=60
  python -m jittor_ipl adapt --style werewolf --learning-rate 0.002 --dry-run"""


@click.command(cls=options.Command, examples=EXAMPLES)
@options.suite
@options.styles
@options.new_style
@options.changes
@click.option("--output", "--output-dir", "--outdir", metavar="DIR",
              help="Folder of the runs.  [default: runs/<suite>]")
@click.option("--resume", "--resume-from-checkpoint", is_flag=False, flag_value="latest", type=click.Choice(["latest"]),
              expose_value=False, help="Go on after the last checkpoint: always done, accepted for habit's sake.")
@click.option("--restart", is_flag=True, help="Forget what the run folder holds and begin anew.")
@click.option("--dry-run", "-n", is_flag=True, help="Print the resolved configuration and stop.")
@click.option("--list", "listing", is_flag=True, help="Print number, folder, state and name of every style and stop.")
@settings_options
def command(config: Path, styles: tuple[str, ...], new_style: bool, changes: tuple[str, ...], output: str | None,
            restart: bool, dry_run: bool, listing: bool, **settings: object) -> int:
    """Adapt a generator to the styles of a suite, or to any words. Finished ones are skipped."""
    from jittor_ipl.config import choose_runs, load_suite, to_yaml
    suite = load_suite(config, [*as_overrides(settings), *changes])
    runs = choose_runs(suite, styles, new_style)
    root = Path(output or Path("runs") / suite.suite)
    if listing:
        _list(runs, root)
    elif dry_run:
        print("---\n".join(to_yaml(run) for run in runs), end="")
    else:
        for run in runs:
            if not suite.lists(run.style):
                options.note(f"the suite {suite.suite!r} does not list {run.style!r}; it gets the suite's settings")
            _adapt_one(run, root / run.folder, restart)
    return 0


def _list(runs: list[StyleRun], root: Path) -> None:
    from jittor_ipl.disk.layout import REPORT
    for run in runs:
        state = "finished" if (root / run.folder / REPORT).is_file() else "open"
        print(f"{run.number:02d}\t{root / run.folder}\t{state}\t{run.style}")


def _adapt_one(run: StyleRun, folder: Path, restart: bool) -> None:
    from jittor_ipl.adaptation.adapt import adapt_style
    from jittor_ipl.disk.layout import CONFIG
    # Never removes what no run made.
    report = adapt_style(run, folder, restart=restart and (folder / CONFIG).is_file())
    done = "finished before" if report.skipped else f"{report.seconds:.0f} s"
    print(f"{run.folder}: {done}, CLIP direction {report.direction_similarity:.3f} -> {folder}", flush=True)

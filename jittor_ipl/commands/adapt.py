"""`adapt`: train the styles of a suite, or any other words."""
from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from jittor_ipl.commands import options
from jittor_ipl.commands.settings import as_overrides, settings_options

EXAMPLES = """  python -m jittor_ipl adapt --style disney
  python -m jittor_ipl adapt --style "zombie" --config configs/ffhq.yaml
  python -m jittor_ipl adapt --style "anime painting" --method ipl --set generator.steps=60
  python -m jittor_ipl adapt --style werewolf --learning-rate 0.002 --dry-run
  python -m jittor_ipl adapt --style "my style" --style-images pictures/ --config ffhq_teacher"""


@click.command(cls=options.Command, examples=EXAMPLES)
@options.suite
@options.styles
@options.new_style
@click.option("--style-images", "--style-img-dir", metavar="DIR",
              help="A folder of pictures of the one --style: with a teacher some 3 to 10 that it learns first.")
@options.changes
@options.runs
@options.resume
@options.restart
@options.dry_run
@click.option("--mpi", is_flag=True, help="The processes of mpirun share every batch of stage 2.")
@click.option("--mpi-timeout", type=click.FloatRange(0, min_open=True), default=600.0, metavar="SECONDS",
              help="With --mpi: end rather than wait longer for another process.")
@click.option("--list", "listing", is_flag=True, help="Print number, folder, state and name of every style and stop.")
@settings_options
def command(config: Path, styles: tuple[str, ...], new_style: bool, style_images: str | None,
            changes: tuple[str, ...], output: str | None, restart: bool, dry_run: bool, listing: bool,
            mpi: bool, mpi_timeout: float, **settings: object) -> int:
    """Adapt a generator to the styles of a suite, or to any words. Finished ones are skipped."""
    from jittor_ipl.config import choose_runs, load_suite, to_yaml, with_images
    from jittor_ipl.disk.layout import CONFIG, REPORT
    suite = load_suite(config, [*as_overrides(settings), *changes], styles)
    runs = choose_runs(suite, styles, new_style)
    if style_images is not None:
        runs = with_images(runs, style_images)
    root = Path(output or Path("runs") / suite.suite)
    if listing:
        for run in runs:
            state = "finished" if (root / run.folder / REPORT).is_file() else "open"
            print(f"{run.number:02d}\t{root / run.folder}\t{state}\t{run.style}")
        return 0
    if dry_run:
        print("---\n".join(to_yaml(run) for run in runs), end="")
        return 0
    from jittor_ipl.adaptation.adapt import adapt_style
    from jittor_ipl.train.ranks import Ranks
    together = partial(Ranks, mpi_timeout) if mpi else None
    for run in runs:
        folder = root / run.folder
        if run.style not in suite.names():
            options.note(f"the suite {suite.suite!r} does not list {run.style!r}; it gets the suite's settings")
        # Never removes what no run made.
        report = adapt_style(run, folder, restart=restart and (folder / CONFIG).is_file(), ranks_of=together)
        done = "finished before" if report.skipped else f"{report.seconds:.0f} s"
        print(f"{run.folder}: {done}, CLIP direction {report.direction_similarity:.3f} -> {folder}", flush=True)
    return 0

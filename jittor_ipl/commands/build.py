"""`build`, which run_all.py calls: weights and seeds in, results/<suite>/ out."""
from __future__ import annotations

import time
from pathlib import Path

import click

from jittor_ipl.commands import options

EXAMPLES = """  python run_all.py
  python run_all.py --weights runs/demo --zip
  python run_all.py --weights B_weight/demo --seeds 0-99 --workers 2"""


@click.command(cls=options.Command, examples=EXAMPLES)
@click.option("--weights", default="B_weight/demo", type=options.shipped, metavar="DIR",
              help="runs/<suite> or B_weight/<suite>.")
@click.option("--seeds", metavar="LIST|FILE",
              help='0,1,5-10, or a JSON file {name: seed} or {"00": {name: seed}}.  [default: the configured ones]')
@options.made_styles
@click.option("--output", "--outdir", "--output-dir", default="results", metavar="DIR", help="Root of the results.")
@click.option("--zip", "archive", is_flag=False, flag_value="", metavar="[FILE]",
              help="Pack a submission too; without FILE as results/<suite>.zip.")
@options.batch
@options.workers
def command(weights: str, seeds: str | None, styles: tuple[str, ...], output: str, archive: str | None, batch: int,
            workers: int) -> int:
    """Make every picture of a suite (what run_all.py does)."""
    from jittor_ipl.submission.build import build, pack
    from jittor_ipl.submission.sets import choose, open_set
    started = time.monotonic()
    test_set = choose(open_set(Path(weights), seeds), list(styles))
    for name in test_set.missing:
        click.echo(f"skipped: {name} is not finished", err=True)
    built = build(test_set, Path(output), batch=batch, workers=workers)
    print(f"{built.folder}: {built.made} pictures made, {built.kept} kept, {time.monotonic() - started:.1f} s")
    if archive is not None:
        path = Path(archive) if archive else built.folder.with_name(f"{built.folder.name}.zip")
        pack(built.folder, path)
        print(f"submission -> {path}")
    return 0

"""`release`: B_weight/<suite> from finished runs."""
from __future__ import annotations

from pathlib import Path

import click

from jittor_ipl.commands import options

EXAMPLES = """  python -m jittor_ipl release --runs runs/demo"""


@click.command(cls=options.Command, examples=EXAMPLES)
@click.option("--runs", default="runs/demo", metavar="DIR", help="Finished runs.")
@click.option("--output", default="B_weight", metavar="DIR", help="Root of the releases.")
@click.option("--exact", is_flag=True, help="Store float32 values instead of float16 differences.")
@click.option("--limit-mib", type=float, default=25.0, metavar="MIB", help="Largest size of a suite.")
@click.option("--seeds", metavar="LIST|FILE", help="As in run_all.py: results/<suite>/seeds.json, for example.")
@options.batch
@options.workers
def command(runs: str, output: str, exact: bool, limit_mib: float, seeds: str | None, batch: int,
            workers: int) -> int:
    """Fill B_weight/<suite> from finished runs (what scripts/release.sh does)."""
    from jittor_ipl.submission.release import release
    folder = release(Path(runs), Path(output), half=not exact, limit_mib=limit_mib, batch=batch, workers=workers,
                     seeds=seeds)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
    print(f"{folder}: {size:.1f} MiB")
    return 0

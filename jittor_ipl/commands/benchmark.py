"""`benchmark`: train and measure the methods' cells that are not done, then write the report and the contact sheets."""
from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jittor_ipl.commands import options

if TYPE_CHECKING:
    from jittor_ipl.benchmark.plan import Cell
    from jittor_ipl.benchmark.settings import Benchmark

CACHE, SHEETS, REPORT = ".cache", "sheets", Path("docs/benchmark.md")
SCRIPT = "bash scripts/benchmark_adaptation.sh"
EXAMPLES = """  python -m jittor_ipl benchmark --jobs 2
  python -m jittor_ipl benchmark --only ours,ipl/disney/3 --list"""


@click.command(cls=options.Command, examples=EXAMPLES)
@click.option("--config", default="benchmark", metavar="FILE", help="A benchmark's file, or the name of a shipped one.")
@click.option("--only", default="", metavar="METHODS/STYLES/SEEDS",
              help="This part alone, each a comma list or empty for all: ours,ipl/disney/3, //4")
@click.option("--jobs", type=options.positive, default=1, metavar="N", help="Processes side by side.")
@click.option("--threads", type=options.positive, metavar="N", help="Threads of each process; another number "
              "changes the last bits of the weights.  [default: OMP_NUM_THREADS, else cores / jobs]")
@click.option("--time-limit", type=float, metavar="MINUTES", help="Start no cell after this time.")
@click.option("--output", metavar="DIR", help="Folder of the cells.  [default: runs/NAME]")
@click.option("--write", metavar="FILE", help="The report.  [default: docs/benchmark.md of the shipped one "
              "where docs is here, else report.md beside the cells]")
@click.option("--report", "report_only", is_flag=True, help="Train nothing: write the report of what is done.")
@click.option("--list", "listing", is_flag=True, help="Name the cells and whether they are done.")
@click.option("--inception", metavar="FILE", help="Weights of Inception v3 (FID) in place of the demo judge.")
@click.option("--lpips", metavar="FILE", help="Weights of LPIPS, one file or backbone,heads.")
@click.option("--arcface", metavar="FILE", help="Weights of ArcFace IR-SE50.")
@click.option("--clip", metavar="FILE", help="CLIP of the direction similarity.")
@options.engine_options
def command(config: str, only: str, jobs: int, threads: int | None, time_limit: float | None, output: str | None,
            write: str | None, report_only: bool, listing: bool, engine: str,
            ray_address: str | None, store: str | None, tries: int, **networks: str | None) -> int:
    """Train and measure methods against each other. The same command goes on; 1 when a cell failed."""
    # Before NumPy and Jittor start their threads; processes of their own inherit it.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads or max(1, len(os.sched_getaffinity(0)) // jobs)))
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    nodes = options.engine_of(engine, ray_address, store, tries)
    from jittor_ipl.benchmark.plan import chosen, plan
    from jittor_ipl.benchmark.settings import load_benchmark
    from jittor_ipl.benchmark.work import work
    from jittor_ipl.config import suite_path
    file = options.suite_file(config)
    benchmark = load_benchmark(file)
    given = {name: ref.split(",") if name == "lpips" else ref for name, ref in networks.items() if ref}
    benchmark = benchmark.model_copy(update={"networks": benchmark.networks.model_copy(update=given)})
    root = Path(output or Path("runs") / benchmark.name)
    cells = plan(benchmark, root)
    wanted = chosen(cells, only)
    if listing:
        print("\n".join(f"{'done' if cell.record() else 'to do'}  {cell.label}" for cell in wanted))
        return 0
    failed = []
    if not report_only:
        for cell in wanted:
            cell.identity()         # a file that is missing is told once, before anything is trained
        tally = work(wanted, root / CACHE, jobs, time_limit, engine=nodes)
        failed = tally.failed
        if tally.left:
            click.echo(f"the time is over: {tally.left} cells left; the same command goes on", err=True)
    ships = file.resolve() == suite_path("benchmark").resolve()
    path = Path(write) if write else REPORT if ships and REPORT.parent.is_dir() else root / "report.md"
    _report(benchmark, cells, root, path, SCRIPT if ships else f"{SCRIPT} --config {config}")
    for line in failed:
        click.echo(f"failed: {line}", err=True)
    return int(bool(failed))


def _report(benchmark: Benchmark, cells: list[Cell], root: Path, path: Path, script: str) -> None:
    """Write the report to `path`, the small sheet beside it, and a sheet a style under `root`; print where."""
    from jittor_ipl.benchmark.report import markdown
    from jittor_ipl.benchmark.results import Results
    from jittor_ipl.benchmark.sheets import write_sheets, write_small
    from jittor_ipl.disk.atomic import write_bytes
    results = Results({cell.key: cell.record() for cell in cells})
    write_sheets(benchmark, cells, root / SHEETS)
    small = write_small(benchmark, cells, path.with_name(f"{path.stem}-sheet.png"))
    write_bytes(path, markdown(benchmark, results, small.name if small else None, script).encode())
    print(f"{len(results.done())} of {len(results.records)} cells: {path}   contact sheets: {root / SHEETS}")

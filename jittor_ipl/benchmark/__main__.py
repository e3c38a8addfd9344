"""python -m jittor_ipl.benchmark: train and measure what is not done, then write the report and the contact sheets."""
from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jittor_ipl.errors import UserError

if TYPE_CHECKING:
    from jittor_ipl.benchmark.plan import Cell
    from jittor_ipl.benchmark.settings import Benchmark

CACHE, SHEETS = ".cache", "sheets"
SHIPPED = Path("configs/benchmark.yaml")
COMMAND = "bash scripts/benchmark_adaptation.sh"


def main(words: list[str] | None = None) -> int:
    """Return 0, 1 when a cell failed, 2 for a mistake in the call or the configuration."""
    try:
        return run(_parser().parse_args(words))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """Do what the parsed options ask."""
    jobs = options.jobs
    # Before NumPy and Jittor start their threads; processes of their own inherit it.
    os.environ.setdefault("OMP_NUM_THREADS", str(options.threads or max(1, len(os.sched_getaffinity(0)) // jobs)))
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)
    from jittor_ipl.benchmark.plan import chosen, plan
    from jittor_ipl.benchmark.settings import load_benchmark
    benchmark = with_networks(load_benchmark(options.config), options)
    root = options.output or Path("runs") / benchmark.name
    cells = plan(benchmark, root)
    wanted = chosen(cells, options.only)
    if options.list:
        return _list(wanted)
    failed = []
    if not options.report:
        from jittor_ipl.benchmark.work import work
        for cell in wanted:
            cell.identity()         # a file that is missing is told once, before anything is trained
        tally = work(wanted, root / CACHE, jobs, options.time_limit)
        failed = tally.failed
        if tally.left:
            print(f"the time is over: {tally.left} cells left; the same command goes on", file=sys.stderr)
    own = options.config == SHIPPED
    path = options.write or (Path("docs/benchmark.md") if own else root / "report.md")
    write(benchmark, cells, root, path, COMMAND if own else f"{COMMAND} --config {options.config}")
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return int(bool(failed))


def write(benchmark: "Benchmark", cells: "list[Cell]", root: Path, path: Path, command: str) -> None:
    """Write the report to `path`, the small sheet beside it, and a sheet a style under `root`; print where."""
    from jittor_ipl.benchmark.report import markdown
    from jittor_ipl.benchmark.results import gather
    from jittor_ipl.benchmark.sheets import write_sheets, write_small
    from jittor_ipl.disk.atomic import write_bytes
    results = gather(cells)
    write_sheets(benchmark, cells, root / SHEETS)
    small = write_small(benchmark, cells, path.with_name(f"{path.stem}-sheet.png"))
    write_bytes(path, markdown(benchmark, results, small.name if small else None, command).encode())
    print(f"{len(results.done())} of {len(results.records)} cells: {path}   contact sheets: {root / SHEETS}")


def with_networks(benchmark: "Benchmark", options: argparse.Namespace) -> "Benchmark":
    """Return the benchmark with the networks that the call names in place of the file's."""
    given = {"inception": options.inception, "arcface": options.arcface, "clip": options.clip,
             "lpips": options.lpips.split(",") if options.lpips else None}
    given = {name: value for name, value in given.items() if value}
    return benchmark.model_copy(update={"networks": benchmark.networks.model_copy(update=given)})


def _list(cells: "list[Cell]") -> int:
    for cell in cells:
        print(f"{'done' if cell.record() else 'to do'}  {cell.label}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jittor_ipl.benchmark", description=__doc__.partition(": ")[2])
    parser.add_argument("--config", type=Path, default=SHIPPED)
    parser.add_argument("--only", default="", metavar="METHODS/STYLES/SEEDS",
                        help="this part alone, each a comma list or empty for all: ours,ipl/disney/2, //3")
    parser.add_argument("--jobs", type=_positive, default=1, help="processes side by side (default 1)")
    parser.add_argument("--threads", type=_positive, help="threads of each process (default OMP_NUM_THREADS, else cores / jobs); "
                                                          "another number changes the last bits of the weights")
    parser.add_argument("--time-limit", type=float, metavar="MINUTES", help="start no cell after this time")
    parser.add_argument("--output", type=Path, help="folder of the cells (default runs/NAME)")
    parser.add_argument("--write", type=Path, help="the report (default docs/benchmark.md; report.md beside the cells of another benchmark)")
    parser.add_argument("--report", action="store_true", help="train nothing: write the report of what is done")
    parser.add_argument("--list", action="store_true", help="name the cells and whether they are done")
    parser.add_argument("--inception", help="weights of Inception v3 (FID) in place of the demo judge")
    parser.add_argument("--lpips", help="weights of LPIPS, one file or backbone,heads")
    parser.add_argument("--arcface", help="weights of ArcFace IR-SE50")
    parser.add_argument("--clip", help="CLIP of the direction similarity")
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())

"""What each command of `cli` does, from parsed arguments to an exit code. Jittor is imported only where pictures are made."""
from __future__ import annotations

import json
import sys
import time
from argparse import Namespace
from pathlib import Path

from jittor_ipl.config import StyleRun, Suite, load_suite, to_yaml
from jittor_ipl.disk import atomic
from jittor_ipl.disk.layout import CONFIG, REPORT, SEEDS
from jittor_ipl.errors import UserError


def adapt(arguments: Namespace) -> int:
    """Adapt the chosen styles one after another; finished ones are skipped."""
    suite = load_suite(arguments.config, _overrides(arguments))
    runs = _chosen(suite, arguments.style)
    root = Path(arguments.output or Path("runs") / suite.suite)
    if arguments.list:
        return _list(runs, root)
    if arguments.dry_run:
        print("---\n".join(to_yaml(run) for run in runs), end="")
        return 0
    for run in runs:
        _adapt_one(run, root / run.folder, arguments.restart)
    return 0


def _overrides(arguments: Namespace) -> list[str]:
    """Return the settings given by their familiar names, then those given by --set, which win."""
    named = {key.partition(":")[2]: value for key, value in vars(arguments).items()
             if key.startswith("setting:") and value is not None}
    return [f"{key}={_scalar(value)}" for key, value in named.items()] + arguments.set


def _scalar(text: str) -> str:
    """Return `text` as a YAML number or truth value when it is one, else quoted: words may hold any character."""
    try:
        float(text)
    except ValueError:
        return text if text in ("true", "false") else json.dumps(text, ensure_ascii=False)
    return text


def _chosen(suite: Suite, styles: list[str]) -> list[StyleRun]:
    return [suite.run_of(style) for style in dict.fromkeys(styles)] or suite.runs()


def _list(runs: list[StyleRun], root: Path) -> int:
    for run in runs:
        state = "finished" if (root / run.folder / REPORT).is_file() else "open"
        print(f"{run.number:02d}\t{root / run.folder}\t{state}\t{run.style}")
    return 0


def _adapt_one(run: StyleRun, folder: Path, restart: bool) -> None:
    from jittor_ipl.adaptation.adapt import adapt_style
    # Never removes what no run made.
    report = adapt_style(run, folder, restart=restart and (folder / CONFIG).is_file())
    done = "finished before" if report.skipped else f"{report.seconds:.0f} s"
    print(f"{run.folder}: {done}, CLIP direction {report.direction_similarity:.3f} -> {folder}", flush=True)


def generate(arguments: Namespace) -> int:
    """Make the pictures of the seeds with one generator."""
    from jittor_ipl.disk.folders import output_folder
    from jittor_ipl.disk.names import SUFFIX
    from jittor_ipl.images.files import save_png
    from jittor_ipl.submission.one import open_one
    from jittor_ipl.submission.produce import produce
    entry = open_one(arguments.weights, arguments.seeds, style=arguments.style, source=arguments.source,
                     truncation=arguments.truncation, noise=arguments.noise_mode)
    folder = None                # made for the first picture, so that a mistake leaves nothing behind
    wanted = {entry.number: list(entry.plan.images)}
    for _, name, image in produce([entry], wanted, batch=arguments.batch, workers=arguments.workers):
        folder = folder or output_folder(Path(arguments.outdir))
        save_png(folder / f"{name}{SUFFIX}", image, {"style": entry.plan.style, "seed": str(entry.plan.images[name])})
    print(f"{len(entry.plan.images)} pictures -> {folder}")
    return 0


def build(arguments: Namespace) -> int:
    """Fill results/<suite> (run_all.py)."""
    from jittor_ipl.submission.build import build as fill
    from jittor_ipl.submission.build import pack
    from jittor_ipl.submission.sets import choose, open_set
    started = time.monotonic()
    test_set = choose(open_set(Path(arguments.weights), arguments.seeds), arguments.style)
    for name in test_set.missing:
        print(f"skipped: {name} is not finished", file=sys.stderr)
    built = fill(test_set, Path(arguments.output), batch=arguments.batch, workers=arguments.workers)
    print(f"{built.folder}: {built.made} pictures made, {built.kept} kept, {time.monotonic() - started:.1f} s")
    if arguments.zip is not None:
        archive = Path(arguments.zip) if arguments.zip else built.folder.with_name(f"{built.folder.name}.zip")
        pack(built.folder, archive)
        print(f"submission -> {archive}")
    return 0


def verify(arguments: Namespace) -> int:
    """Compare regenerated with recorded pictures (test.py); 1 when any differs."""
    from jittor_ipl.submission.sets import find_sets
    from jittor_ipl.submission.verify import summary as lines
    from jittor_ipl.submission.verify import verify as prove
    root = Path(arguments.weights)
    if not root.is_dir():
        raise UserError(f"there is no folder {str(root)!r}: give B_weight, B_weight/<suite> or runs/<suite>")
    folders = find_sets(root) if next(root.glob(f"**/{SEEDS}"), None) else [root]
    outcomes = []
    for folder in folders:
        outcomes.append(prove(folder, results=Path(arguments.results), styles=arguments.style, sample=arguments.sample,
                              batch=arguments.batch, workers=arguments.workers))
        print("\n".join(lines(outcomes[-1])), flush=True)
    if arguments.json:
        atomic.write_json(arguments.json, {outcome.suite: outcome.to_dict() for outcome in outcomes})
    return int(any(outcome.differences for outcome in outcomes))


def train_all(arguments: Namespace) -> int:
    """Adapt, generate, verify and show a whole suite (train_all.sh)."""
    from jittor_ipl.commands.train_all import train_all as run
    return run(arguments)


def summary(arguments: Namespace) -> int:
    """Print a suite's table and write its contact sheet."""
    from jittor_ipl.submission.summary import rows, table, to_json, write_sheet
    suite = load_suite(arguments.config)
    results = Path(arguments.results or Path("results") / suite.suite)
    found = rows(_chosen(suite, arguments.style), Path(arguments.runs or Path("runs") / suite.suite), results,
                 Path(arguments.verified) if arguments.verified else None)
    print(to_json(found) if arguments.json else table(found))
    if arguments.sheet:
        write_sheet(Path(arguments.sheet), results)
        print(f"contact sheet -> {arguments.sheet}", file=sys.stderr if arguments.json else sys.stdout)
    return 0


def release(arguments: Namespace) -> int:
    """Fill B_weight/<suite> from runs/<suite>."""
    from jittor_ipl.submission.release import release as fill
    folder = fill(Path(arguments.runs), Path(arguments.output), half=not arguments.exact, limit_mib=arguments.limit_mib,
                  batch=arguments.batch, workers=arguments.workers)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
    print(f"{folder}: {size:.1f} MiB")
    return 0


def doctor(arguments: Namespace) -> int:
    """Print what was found on this machine; 1 when something must be mended."""
    from jittor_ipl.runtime.doctor import run_checks
    checks = run_checks(arguments.deep)
    for check in checks:
        if check.ok and arguments.quiet:
            continue
        print(f"{'ok   ' if check.ok else 'FAULT'} {check.name:<11} {check.detail}")
        if not check.ok:
            print(f"      mend it: {check.fix}")
    return int(not all(check.ok for check in checks))

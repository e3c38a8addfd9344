"""`build`, which run_all.py calls: weights and seeds in, results/<suite>/ out."""
from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jittor_ipl.commands import options, score

if TYPE_CHECKING:
    from jittor_ipl.submission.sets import TestSet

EXAMPLES = """  python run_all.py
  python run_all.py --weights runs/demo --zip
  python run_all.py --weights B_weight/demo --seeds 0-99 --workers 2
  python run_all.py --weights runs/demo_lora --candidates 4 --demo"""


@click.command(cls=options.Command, examples=EXAMPLES)
@click.option("--weights", default="B_weight/demo", type=options.shipped, metavar="DIR",
              help="runs/<suite> or B_weight/<suite>.")
@click.option("--seeds", metavar="LIST|FILE",
              help='0,1,5-10 (of generators), or a JSON file {name: seed} or {"00": {name: seed}}.  '
                   '[default: the configured ones]')
@options.made_styles
@click.option("--output", "--outdir", "--output-dir", default="results", metavar="DIR", help="Root of the results.")
@click.option("--zip", "archive", is_flag=False, flag_value="", metavar="[FILE]",
              help="Pack a submission too; without FILE as results/<suite>.zip.")
@click.option("--candidates", type=options.positive, metavar="N",
              help="Of a LoRA make N pictures a prompt and keep the best by the competition's score, as far as its "
                   "networks are given.  [default: the configured number; 1 for a release or with --seeds]")
@click.option("--references", metavar="DIR", help="Pictures of the styles for that.  [default: the suite's data]")
@click.option("--base", is_flag=True, help="The base model in place of the LoRA, told captions.base; to compare.")
@options.batch
@options.workers
@click.option("--block", type=options.positive, metavar="N",
              help="Pictures of a task with --engine ray.  [default: 256]")
@options.engine_options
@score.network_options
def command(weights: str, seeds: str | None, styles: tuple[str, ...], output: str, archive: str | None,
            candidates: int | None, references: str | None, base: bool, batch: int, workers: int, demo: bool,
            block: int | None, engine: str, ray_address: str | None, store: str | None, tries: int,
            **files: str | None) -> int:
    """Make every picture of a suite (what run_all.py does)."""
    from jittor_ipl.disk.layout import SEEDS
    from jittor_ipl.submission.build import build, pack
    from jittor_ipl.submission.candidates import base_set, counts_of
    from jittor_ipl.submission.remote import BLOCK
    from jittor_ipl.submission.sets import choose, open_set
    started, nodes = time.monotonic(), options.engine_of(engine, ray_address, store, tries)
    test_set = choose(open_set(Path(weights), seeds), list(styles))
    for name in test_set.missing:
        click.echo(f"skipped: {name} is not finished", err=True)
    if base:
        test_set = base_set(test_set)
    elif candidates is not None or any(entry.is_lora for entry in test_set.entries):
        configured = seeds is None and not (Path(weights) / SEEDS).is_file()     # else the seeds were chosen before
        counts = counts_of(test_set, candidates, configured)
        test_set = _chosen(test_set, counts, Path(output), references, workers, demo, files)
    built = build(test_set, Path(output), batch=batch, workers=workers, engine=nodes, block=block or BLOCK)
    print(f"{built.folder}: {built.made} pictures made, {built.kept} kept, {time.monotonic() - started:.1f} s")
    if archive is not None:
        path = Path(archive) if archive else built.folder.with_name(f"{built.folder.name}.zip")
        pack(built.folder, path)
        print(f"submission -> {path}")
    return 0


def _chosen(test_set: TestSet, counts: Mapping[str, int], root: Path, references: str | None, workers: int, demo: bool,
            files: Mapping[str, str | None]) -> TestSet:
    """Return the set with the best of so many seeds a picture as `counts` says for each style's number."""
    from jittor_ipl.metrics.competition import read_words
    from jittor_ipl.submission.candidates import best_of
    if max(counts.values()) == 1:
        return test_set
    prompts = sorted({name for entry in test_set.entries for name in entry.plan.images})
    missing = score.missing_parts(files, score.FILES)
    words = read_words(files["words"]) if files["words"] else ()
    scorers = score.scorers_of(files, [part for part in score.FILES if part not in missing], words)
    if demo:
        from jittor_ipl.world.judging.stand_ins import demo_scorers
        scorers = {**demo_scorers(prompts), **scorers}
    print(f"candidates are chosen by {', '.join(scorers)}")
    return best_of(test_set, counts, scorers, root, workers=workers,
                   references=Path(references) if references else None)

"""`verify`, which test.py calls: regenerate recorded pictures and compare."""
from __future__ import annotations

from pathlib import Path

import click

from jittor_ipl.commands import options
from jittor_ipl.errors import UserError

EXAMPLES = """  python test.py
  python test.py --sample 10
  python test.py --weights runs/demo"""


@click.command(cls=options.Command, examples=EXAMPLES)
@click.option("--weights", default="B_weight", type=options.shipped, metavar="DIR",
              help="B_weight, one suite in it, or runs/<suite>.")
@click.option("--results", default="results", metavar="DIR", help="Where the record of runs/<suite> is.")
@options.made_styles
@click.option("--sample", type=options.positive, metavar="N", help="Only N pictures of each suite, always the same.")
@options.report_json
@options.batch
@options.workers
def command(weights: str, results: str, styles: tuple[str, ...], sample: int | None, json_file: str | None, batch: int,
            workers: int) -> int:
    """Regenerate recorded pictures and compare them, pixel by pixel (what test.py does)."""
    from jittor_ipl.disk import atomic
    from jittor_ipl.submission.sets import find_sets
    from jittor_ipl.submission.verify import summary, verify
    root = Path(weights)
    if not root.is_dir():
        raise UserError(f"there is no folder {str(root)!r}: give B_weight, B_weight/<suite> or runs/<suite>")
    outcomes = []
    for folder in find_sets(root) or [root]:
        outcomes.append(verify(folder, results=Path(results), styles=list(styles), sample=sample, batch=batch,
                               workers=workers))
        print("\n".join(summary(outcomes[-1])), flush=True)
    if json_file:
        atomic.write_json(json_file, {outcome.suite: outcome.to_dict() for outcome in outcomes})
    return int(any(outcome.differences for outcome in outcomes))

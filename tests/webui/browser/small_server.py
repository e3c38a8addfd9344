"""The server of the browser tests: `ui` as it is, but that styles are learnt in a few steps."""
from __future__ import annotations

import sys

from jittor_ipl.webui import learning_plans

FEW = ("teacher.pairs.count=8", "teacher.pairs.steps=6", "teacher.scores.steps=2", "teacher.pairs.sampling_steps=2",
       "teacher.few_shot.steps=6", "teacher.few_shot.batch=2", "run.sample_every=3", "run.log_every=1")

if __name__ == "__main__":
    learning_plans.OVERRIDES += FEW
    from jittor_ipl.cli import main
    sys.exit(main(["ui", *sys.argv[1:]]))

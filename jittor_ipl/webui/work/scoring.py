"""The figures of what run_all.py made."""
from __future__ import annotations

from jittor_ipl.config import load_run
from jittor_ipl.config.lora import LoraRun
from jittor_ipl.disk.layout import CONFIG, SEEDS
from jittor_ipl.submission.lora_summary import lora_rows
from jittor_ipl.submission.records import read_seeds
from jittor_ipl.submission.summary import judge_share, pictures_of, rows
from jittor_ipl.webui.task import RESULTS, RUNS, JobResult, Task
from jittor_ipl.webui.work.models import Models
from jittor_ipl.webui.work.report import Reporter


def score(task: Task, models: Models, report: Reporter) -> JobResult:
    """Return the rows of `summary` where the runs are there, else what the demo's judge says of the pictures."""
    report("scoring")
    results, runs = task.files[RESULTS], task.files.get(RUNS)
    configs = [load_run(path) for path in sorted(runs.glob(f"*/{CONFIG}"))] if runs else []
    if configs and isinstance(configs[0], LoraRun):
        return JobResult(facts={"rows": [vars(row) for row in lora_rows(configs, runs, results, None)]})
    if configs:
        return JobResult(facts={"rows": [vars(row) for row in rows(configs, runs, results, None)]})
    plans = read_seeds(results / SEEDS).styles
    found = []
    for done, (number, plan) in enumerate(sorted(plans.items())):
        report("scoring", done, len(plans))
        found.append({"style": plan.style, "judge": judge_share(plan.style, plan.source,
                                                                pictures_of(results / number, plan))})
    return JobResult(facts={"rows": found})

"""The long form: 40 tasks over 3 Ray nodes, 2 killed, a store that fails 5 % of its requests; then real styles.

    python -m tests.cluster.long [--styles N] [FOLDER]

Prints the figures as JSON and ends with 1 unless all held: nothing lost, nothing twice in the result, bytes as in the
local run's. The second part trains styles on tiny networks, draws their pictures in blocks of two, and does a cell of a
benchmark, here and on the cluster, through the command line.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from jittor_ipl.disk.objects import ObjectStore
from jittor_ipl.jobs.engine import LocalEngine, NodeTask
from jittor_ipl.jobs.ray_engine import RayEngine
from tests.cluster.nodes import BUCKET, ROOT, Stretch, failures, kill_one, ray_nodes, s3_server, stretch
from tests.tiny_networks import write_networks, write_suite

TASKS, KILLED_AFTER = 40, (8, 20)       # tasks; answers after which a node is killed
SUITE = """
suite: tiny
method: nada
source: {{class: photo, generator: "generator.safetensors", mean_latent_samples: 32}}
clip: [{{model: "clip.safetensors"}}]
generator: {{steps: 2, batch: 1}}
generate: {{seeds: 0-3}}
run: {{samples: 0, tensorboard: false}}
styles: [{styles}]
"""
BENCHMARK = f"""
name: tiny
sources: [{{suite: {ROOT}/configs/demo_clip.yaml, styles: [disney]}}]
methods:
  nada: {{set: [method=nada, generator.steps=1, generator.batch=1]}}
ours: nada
peers: {{}}
seeds: [2]
samples: 20
"""
# What a clock or a machine's name decides, and what only one of the two ways leaves.
TIMES = {"report.json", "metrics.jsonl", "verified.json", "cell.json"}
PARTS = ("runs", "results", "blocks", "bench")     # folders that the commands fill
PASSED_OVER = {"checkpoints", ".cache"}


def content(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a result, by name; of Markdown without the columns of seconds."""
    return {path.relative_to(folder).as_posix(): hashlib.sha256(
                timeless(path.read_text()).encode() if path.suffix == ".md" else path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in TIMES and not PASSED_OVER & set(path.parts)}


def timeless(markdown: str) -> str:
    """Return Markdown whose tables have nothing in the columns that are headed "s ..."."""
    lines, heads = [], None
    for line in markdown.splitlines():
        cells = line.split(" | ") if line.startswith("| ") else None
        heads = None if cells is None and not line.startswith("|-") else heads or cells
        if cells and cells is not heads:
            line = " | ".join("" if head.startswith("s ") else cell for head, cell in zip(heads, cells))
        lines.append(line)
    return "\n".join(lines)


def tasks(count: int, seconds: float) -> list[NodeTask]:
    """Return tasks that write what their number and one input decide."""
    return [NodeTask(f"task{number}", hashlib.sha256(b"long %d" % number).hexdigest(),
                     Stretch("source.bin", number, "made", seconds), {"source.bin": "source.bin"},
                     {"made": f"out/{number}"}, ("checkpoints",)) for number in range(count)]


def many_tasks(server: str, cluster: Any) -> dict[str, Any]:
    """Do 40 tasks here and on three nodes, two of which are killed in the middle; return the figures."""
    Path("source.bin").write_bytes(bytes(range(256)) * 4096)
    Path("local").mkdir()
    for one in LocalEngine().run(stretch, tasks(TASKS, 0.0), "local"):
        Path("made").rename(Path("local") / str(one.request.request.number))
    engine = RayEngine(cluster.address, ObjectStore(f"s3://{BUCKET}/many"), tries=8, logs=Path("logs"))
    answered: list[str] = []
    errors, kills = [], 0
    for answer in engine.run(stretch, tasks(TASKS, 2.0), "many"):
        answered.append(answer.request.name)
        errors += [str(answer.error)] * (answer.error is not None)
        if len(answered) in KILLED_AFTER:
            kill_one(cluster)
            kills += 1
    local, found = content(Path("local")), content(Path("out"))
    manifest = engine.store.record("manifests/many") or {"tasks": {}}
    return {"tasks": TASKS, "nodes": 3, "kills": kills, "answers": len(answered),
            "answered twice": len(answered) - len(set(answered)), "errors": errors,
            "attempts": len(list(Path("logs/many").iterdir())),
            "files": len(found), "files lost": len(local.keys() - found.keys()),
            "files too many": len(found.keys() - local.keys()),
            "files equal to the local run's": sum(found[name] == local[name] for name in local.keys() & found.keys()),
            "tasks in the manifest": len({one["name"] for one in manifest["tasks"].values()}),
            "store": failures(server)}


def real_styles(cluster: Any, styles: int) -> dict[str, Any]:
    """Do what the commands do, here and on the cluster; return how the files compare."""
    engine = ["--engine", "ray", "--ray-address", cluster.address, "--store", f"s3://{BUCKET}/real"]
    where = {"local": [], "ray": engine}
    codes = {}
    for name, words in where.items():
        folder = write_networks(Path(name), size=16)
        write_suite(folder, SUITE.replace("{styles}", ", ".join(["disney", "cubism", "cartoon", "werewolf"][:styles])))
        (folder / "bench.yaml").write_text(BENCHMARK)
        for command in (["train-all", "--config", "suite.yaml", *words],
                        ["build", "--weights", "runs/tiny", "--output", "blocks", *words,
                         *(["--block", "2"] if words else [])],
                        ["benchmark", "--config", "bench.yaml", "--output", "bench", *words]):
            done = subprocess.run([sys.executable, "-m", "jittor_ipl", *command], cwd=folder, text=True,
                                  env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=sys.stderr)
            codes[f"{name} {command[0]}"] = done.returncode
    compared = {}
    for part in PARTS:
        local, found = (content(Path(name, part)) for name in where)
        compared[part] = {"files": len(local), "equal": sum(found.get(name) == value for name, value in local.items()),
                          "differ": sorted(name for name in local.keys() | found.keys()
                                           if local.get(name) != found.get(name))}
    return {"exit codes": codes, **compared}


def held(figures: dict[str, Any]) -> bool:
    """Tell whether the figures are those that must hold."""
    many, real = figures["many"], figures["real"]
    return many["answers"] == many["tasks"] == many["tasks in the manifest"] and many["kills"] == 2 \
        and not (many["answered twice"] or many["errors"] or many["files lost"] or many["files too many"]) \
        and many["files"] == many["files equal to the local run's"] and not any(real["exit codes"].values()) \
        and not any(real[part]["differ"] or not real[part]["files"] for part in PARTS)


def main() -> int:
    """Run both parts in a folder, a new one where none is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--styles", type=int, default=2)
    given = parser.parse_args()
    folder = Path(given.folder or tempfile.mkdtemp(prefix="jittor_ipl-cluster-"))
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    started, figures = time.monotonic(), {}
    with s3_server(rate=0.05, seed=1) as server, ray_nodes(3) as cluster:
        figures["many"] = many_tasks(server, cluster)
        print(json.dumps(figures["many"], indent=1), file=sys.stderr, flush=True)
        figures["real"] = real_styles(cluster, given.styles)
    figures["seconds"], figures["held"] = round(time.monotonic() - started), held(figures)
    print(json.dumps(figures, indent=1))
    return int(not figures["held"])


if __name__ == "__main__":
    sys.exit(main())

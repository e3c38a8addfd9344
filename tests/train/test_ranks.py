"""Two processes under mpirun train what one does with the whole batch, and neither waits for ever for the other."""
from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from jittor_ipl.errors import UserError
from jittor_ipl.jobs.signals import StopOnSignal
from jittor_ipl.train.ranks import Ranks, Watcher
from tests.tiny_networks import write_networks, write_suite

ROOT = Path(__file__).resolve().parents[2]
needs_mpi = pytest.mark.skipif(not (shutil.which("mpirun") and shutil.which("mpicc")),
                               reason="OpenMPI is not installed: apt-get install -y openmpi-bin libopenmpi-dev")
SUITE = """
suite: tiny
method: nada
source: {{class: photo, generator: "{folder}/generator.safetensors", mean_latent_samples: 32}}
clip: [{{model: "{folder}/clip.safetensors"}}]
generator: {{steps: 4, batch: 4}}
run: {{samples: 0, tensorboard: false, log_every: 1}}
styles: [disney]
"""
ADAPT = [sys.executable, "-m", "jittor_ipl", "adapt", "--config", "suite.yaml"]
# The first process is slow to write its report: the others must wait for it before they clear away.
LATE_REPORT = """
import os, sys, time
from jittor_ipl.adaptation.report import Report
from jittor_ipl.cli import main
save = Report.save
Report.save = lambda *about: (time.sleep(2 * (os.environ["OMPI_COMM_WORLD_RANK"] == "0")), save(*about))
sys.exit(main())
"""
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--mca", "btl", "self,vader",
          "--mca", "btl_vader_single_copy_mechanism", "none"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = write_networks(tmp_path_factory.mktemp("ranks"), size=16)
    write_suite(path, SUITE)
    return path


def run(folder: Path, *words: str, timeout: float = 300.0) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout)


def losses(run_dir: Path) -> list[float]:
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if "loss" in line]


@needs_mpi
def test_two_processes_have_the_losses_of_one_with_the_whole_batch(folder):
    alone = run(folder, *ADAPT, "--output", "alone")
    assert alone.returncode == 0, alone.stderr
    late = [sys.executable, "-c", LATE_REPORT, *ADAPT[3:]]
    both = run(folder, *MPIRUN, "-np", "2", *late, "--output", "both", "--mpi")
    assert both.returncode == 0, both.stderr
    one, two = losses(folder / "alone/00-disney"), losses(folder / "both/00-disney")
    assert len(one) == 4 and np.allclose(one, two, rtol=1e-5), (one, two)
    one, two = (load_file(folder / name / "00-disney/generator.safetensors") for name in ("alone", "both"))
    worst = max(float(np.abs(one[name] - two[name]).max()) for name in one)
    print(f"largest difference of a weight: {worst:.2g}")
    assert worst < 1e-4 and not list(folder.glob("both/00-disney/.rank-*")), worst
    again = run(folder, *MPIRUN, "-np", "2", *ADAPT, "--output", "both", "--mpi")
    assert again.returncode == 0 and "finished before" in again.stdout, again.stderr


@needs_mpi
def test_an_uneven_batch_is_one_line(folder):
    done = run(folder, *MPIRUN, "-np", "2", *ADAPT, "--output", "uneven", "--mpi", "--set", "generator.batch=3")
    assert done.returncode != 0 and "generator.batch 3 cannot be shared by 2" in done.stderr


@needs_mpi
def test_a_process_that_never_answers_ends_the_others(folder):
    absent = [sys.executable, "-c", "import time; from jittor_ipl.runtime.backend import jt; time.sleep(600)"]
    done = run(folder, *MPIRUN, "-np", "1", *ADAPT, "--output", "hang", "--mpi", "--mpi-timeout", "3", ":",
               "-np", "1", *absent)
    assert done.returncode != 0 and "process 0 of 2 has waited more than 3 s" in done.stderr, done.stderr


def test_only_waiting_is_watched():
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    watcher = Watcher(victim.pid, 0.2, "process 0 of 2")
    try:
        with watcher.waiting():
            pass
        time.sleep(1.0)         # a stage that every process does by itself
        assert victim.poll() is None
        with watcher.waiting():
            assert victim.wait(60) == -signal.SIGKILL
    finally:
        victim.kill()
        victim.wait()
        watcher.close()


def test_outside_mpirun_the_flag_is_a_mistake():
    with pytest.raises(UserError, match="mpirun"):
        Ranks(1.0, StopOnSignal())

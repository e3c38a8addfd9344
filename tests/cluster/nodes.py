"""Ray nodes and a store on this machine, and what tasks of the tests do. Everything listens on loopback alone."""
from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jittor_ipl.jobs.ray_engine import LOOPBACK, ON_LOOPBACK, SILENT

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
BUCKET = "results"


@contextmanager
def s3_server(rate: float, seed: int = 0) -> Iterator[str]:
    """Run an S3-compatible server that fails the part `rate` of its requests; the environment leads to it. Gives its
    address."""
    server = subprocess.Popen([sys.executable, HERE / "flaky_s3.py", str(rate), str(seed)], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)
    before = dict(os.environ)
    try:
        address = f"http://{LOOPBACK}:{int(server.stdout.readline())}"
        os.environ.update(AWS_ENDPOINT_URL=address, AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test",
                          AWS_DEFAULT_REGION="us-east-1", AWS_EC2_METADATA_DISABLED="true", NO_PROXY=LOOPBACK)
        make_bucket()
        yield address
    finally:
        server.kill()
        server.wait()
        os.environ.clear()
        os.environ.update(before)


def make_bucket() -> None:
    """Make the bucket of the tests, however often the store fails."""
    import s3fs
    for _ in range(20):
        try:
            files = s3fs.S3FileSystem(skip_instance_cache=True)
            if not files.exists(BUCKET):
                files.mkdir(BUCKET)
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("no bucket")


def failures(address: str) -> dict[str, int]:
    """Return how many requests the server had, and how many it failed in which way."""
    with urllib.request.urlopen(f"{address}/flaky") as answer:
        return json.load(answer)


@contextmanager
def ray_nodes(count: int, cpus: int = 1) -> Iterator[Any]:
    """Start a Ray head without CPUs and `count` nodes; gives ray.cluster_utils.Cluster."""
    os.environ.update(SILENT | ON_LOOPBACK, PYTHONPATH=str(ROOT))
    from ray.cluster_utils import Cluster
    options = {"node_ip_address": LOOPBACK, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **options})
    try:
        for _ in range(count):
            cluster.add_node(num_cpus=cpus, **options)
        yield cluster
    finally:
        cluster.shutdown()


def kill_one(cluster: Any) -> None:
    """End a node with all its processes at once, as a power cut does."""
    cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)


@dataclass(frozen=True)
class Stretch:
    """What `stretch` needs: a file to read, a number, and a folder to write."""

    source: str
    number: int
    folder: str
    seconds: float = 0.0


def stretch(request: Stretch) -> dict[str, Any]:
    """Write 64 KiB that depend on the source and the number alone; print a line and return their hash."""
    source, block = hashlib.sha256(Path(request.source).read_bytes()).digest(), b""
    time.sleep(request.seconds)
    while len(block) < 1 << 16:
        block += hashlib.sha256(source + block[-32:] + bytes([request.number])).digest()
    Path(request.folder, "inner").mkdir(parents=True)
    Path(request.folder, "inner", "block").write_bytes(block)
    Path(request.folder, "name.txt").write_text(f"{request.number}\n")
    Path(request.folder, "checkpoints").mkdir()
    Path(request.folder, "checkpoints", "scratch").touch()
    print(f"stretched {request.number}", flush=True)
    return {"sha256": hashlib.sha256(block).hexdigest()}


def refuse(request: Any) -> None:
    """Raise the user's mistake that `request` tells, after a line."""
    from jittor_ipl.errors import UserError
    print("about to refuse", flush=True)
    raise UserError(str(request))

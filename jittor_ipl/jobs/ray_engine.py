"""Tasks on a Ray cluster. Ray schedules; what counts as done is decided by records in the object store alone.

Ray has no authentication: everybody who reaches its ports runs code on its nodes. A cluster that is started here
listens on loopback alone, without a dashboard; an address on the public internet is refused.
"""
from __future__ import annotations

import importlib.util
import ipaddress
import logging
import os
import socket
import time
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jittor_ipl.disk.atomic import write_bytes
from jittor_ipl.disk.objects import ObjectStore
from jittor_ipl.errors import UserError, in_brief
from jittor_ipl.jobs.engine import Function, NodeTask
from jittor_ipl.jobs.nodes import Attempt, attempt, checked_name, collect, standing
from jittor_ipl.jobs.signals import raised_once
from jittor_ipl.jobs.workers import Answer

LOOPBACK = "127.0.0.1"
# Seconds between looks; after which a cluster without a fitting node is given up; in which a head must answer.
POLL, NO_NODE, ANSWERS_WITHIN = 1.0, 120.0, 5.0
SILENT = {"RAY_USAGE_STATS_ENABLED": "0"}       # no reports to Ray's makers
# Ray replaces 127.0.0.1 by the machine's address on the network, and then listens on all of them, unless this is set.
# Its workers are as important as the local ones, where Ray would have them wait for everybody else (nice 15).
ON_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_worker_niceness": "0"}


@dataclass
class RayEngine:
    """A cluster at `address` (host:port of its head), or one that is started here and ends with the work.

    store        where inputs, results, logs and records lie; nothing else is shared
    tries        attempts of a task, deaths of its node included
    cpus, gpus   what a task holds of its node; its variables `environment` say how many threads it runs
    logs         folder for what the tasks print: <job>/<task>.<try>.log
    """

    address: str | None
    store: ObjectStore
    tries: int = 4
    cpus: int = 1
    gpus: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    logs: Path | None = None

    def run(self, function: Function, tasks: Iterable[NodeTask], job: str) -> Generator[Answer, None, None]:
        """Yield the answers as they come, from the store where a task was done before, else from a node.

        When no task failed, the job is committed: `manifests/<job>.json` names every task's record. Raises UserError
        when the cluster cannot be reached or has had no fitting node for two minutes.
        """
        with raised_once(), _Connection(self.address) as ray:
            yield from _Run(self, ray, function, job).answers(enumerate(tasks))


class _Run:
    """One call of `RayEngine.run`."""

    def __init__(self, engine: RayEngine, ray: Any, function: Function, job: str) -> None:
        self.engine, self.ray, self.function, self.job, self.store = engine, ray, function, job, engine.store
        self.remote = ray.remote(num_cpus=engine.cpus, num_gpus=engine.gpus, max_retries=0)(attempt)
        self.pending: dict[Any, tuple[int, NodeTask, int, float]] = {}      # reference -> number, task, try, start
        self.hashes: dict[tuple[str, int, int], str] = {}
        self.done: dict[str, dict[str, Any]] = {}
        self.failed = False

    def answers(self, numbered: Iterator[tuple[int, NodeTask]]) -> Iterator[Answer]:
        """Keep every slot of the cluster busy until all tasks are answered."""
        try:
            more = True
            while more or self.pending:
                while more and len(self.pending) < self.slots():
                    drawn = next(numbered, None)
                    more = drawn is not None
                    if more and (known := self.begin(*drawn)) is not None:
                        yield known
                yield from self.finished()
        finally:
            for reference in self.pending:
                self.ray.cancel(reference, force=True)
        if not self.failed:
            self.store.write_record(f"manifests/{self.job}", {"job": self.job, "tasks": self.done})

    def slots(self) -> int:
        """Return how many tasks the living nodes hold at once; wait for a node where there is none."""
        waited = time.monotonic()
        while True:
            nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
            room = [min(int(node.get("CPU", 0) // self.engine.cpus),
                        int(node.get("GPU", 0) // self.engine.gpus) if self.engine.gpus else 1 << 30) for node in nodes]
            if sum(room):
                return sum(room)
            if time.monotonic() - waited > NO_NODE:
                gpus = f" and {self.engine.gpus} GPUs" if self.engine.gpus else ""
                raise UserError(f"no node of the Ray cluster has {self.engine.cpus} CPUs{gpus} for a task: start one, "
                                "or set OMP_NUM_THREADS to fewer threads")
            time.sleep(POLL)

    def begin(self, number: int, task: NodeTask) -> Answer | None:
        """Hand a task over, or return the answer that the store has already."""
        started = time.monotonic()
        if (record := standing(self.store, task.key)) is not None:
            return self.answered(number, task, record, started)
        self.submit(number, task, 1)
        return None

    def submit(self, number: int, task: NodeTask, tried: int) -> None:
        inputs = {str(checked_name(name)): self.sent(path) for name, path in task.inputs.items()}
        reference = self.remote.remote(self.store, self.function, task, inputs, dict(self.engine.environment),
                                       self.log_of(task, tried))
        self.pending[reference] = number, task, tried, time.monotonic()

    def sent(self, path: str) -> str:
        """Return the hash of an input, in the store from now on; a file that many tasks read is looked at once."""
        stat = os.stat(path)
        known = path, stat.st_size, stat.st_mtime_ns
        if known not in self.hashes:
            self.hashes[known] = self.store.put(path)
        return self.hashes[known]

    def log_of(self, task: NodeTask, tried: int) -> str:
        return f"logs/{self.job}/{task.name}-{task.key[:8]}.{tried}"

    def finished(self) -> Iterator[Answer]:
        """Yield the answers of attempts that ended; begin the next attempt of those that another one may mend."""
        ready, _ = self.ray.wait(list(self.pending), timeout=POLL) if self.pending else ((), ())
        if not ready:
            self.slots()        # a cluster that lost its last node is noticed here
        for reference in ready:
            number, task, tried, started = self.pending.pop(reference)
            ended = self.outcome(reference)
            self.keep_log(task, tried)
            if ended.record is not None:
                yield self.answered(number, task, ended.record, started)
            elif ended.final or tried >= self.engine.tries:
                self.failed = True
                error = UserError(ended.error if ended.final else f"given up after {tried} tries: {ended.error}")
                yield Answer(number, task, None, error, time.monotonic() - started)
            else:
                self.submit(number, task, tried + 1)

    def outcome(self, reference: Any) -> Attempt:
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayError as error:       # the node or its worker died, or cannot load the code
            return Attempt("a node", error=f"{type(error).__name__}: {in_brief(error, 200)}")

    def answered(self, number: int, task: NodeTask, record: Mapping[str, Any], started: float) -> Answer:
        """Bring a record's files here and return the answer."""
        collect(self.store, record, task)
        self.done[task.key] = {"name": task.name, "files": record["files"]}
        return Answer(number, task, record["value"], None, time.monotonic() - started)

    def keep_log(self, task: NodeTask, tried: int) -> None:
        if self.engine.logs is not None and (log := self.store.record(self.log_of(task, tried))) is not None:
            write_bytes(self.engine.logs / self.job / f"{task.name}.{tried}.log",
                        f"node {log['node']}\n{log['text']}".encode())


def find_ray() -> None:
    """Raise UserError unless Ray is installed; imports nothing, for Ray reads its variables when it is imported."""
    if importlib.util.find_spec("ray") is None:
        raise UserError("the package 'ray' is missing: pip install -r requirements-cluster.txt")


class _Connection:
    """Connects to a cluster, or starts one on loopback, and lets go of it."""

    def __init__(self, address: str | None) -> None:
        self.address = address

    def __enter__(self) -> Any:
        address = reachable(self.address) if self.address is not None else None
        os.environ.update(SILENT if address is not None and not _is_loopback(address) else SILENT | ON_LOOPBACK)
        find_ray()
        import ray
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if address is None:
                ray.init(address="local", include_dashboard=False, _node_ip_address=LOOPBACK, **quiet)
            else:
                ray.init(address=address, **quiet)
        except Exception as error:  # noqa: BLE001 - Ray raises bare ones, of a node that starts too slowly for example
            raise UserError(f"no Ray cluster could be started here: {in_brief(error)}; the same command tries again, "
                            "best when this machine is less busy" if address is None else
                            f"no Ray cluster answers at {address}: {in_brief(error)}; give the host:port that ray "
                            "start --head printed") from error
        return ray

    def __exit__(self, *_: object) -> None:
        import ray
        ray.shutdown()


def reachable(address: str) -> str:
    """Return host:port when something answers there and it is no address of the public internet; else UserError."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise UserError(f"--ray-address {address!r} is not host:port, such as 10.0.0.5:6379")
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host.strip("[]"), int(port))}
    except OSError as error:
        raise UserError(f"--ray-address {address!r}: {error.strerror}") from None
    if open_ := [ip for ip in found if ipaddress.ip_address(ip.partition("%")[0]).is_global]:
        raise UserError(f"--ray-address {address!r} is on the public internet ({open_[0]}), where everybody could run "
                        "code on the cluster: bind Ray to loopback or a private network")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWERS_WITHIN).close()
    except OSError as error:        # Ray itself would try for minutes
        raise UserError(f"--ray-address {address!r}: nothing answers there ({error.strerror or 'no answer'}); give the "
                        "host:port that ray start --head printed") from None
    return address


def _is_loopback(address: str) -> bool:
    return address.startswith(("127.", "localhost:", "[::1]"))

"""The desk: takes jobs into bounded queues, hands them to workers, and knows at every moment what became of each.

Two lanes: one worker draws, and owns the models; one learns, so that a picture does not wait minutes for a training.
Each is one process, restarted when it dies: the job that it had then fails, the others go on.
"""
from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jittor_ipl.disk.atomic import make_folder
from jittor_ipl.errors import UserError
from jittor_ipl.jobs.signals import Interrupted
from jittor_ipl.jobs.workers import Worker, WorkerDied
from jittor_ipl.webui.catalogue import Catalogue
from jittor_ipl.webui.jobs import ID, Job, read_jobs, stopped
from jittor_ipl.webui.page_error import PageError
from jittor_ipl.webui.preparing import Finder
from jittor_ipl.webui.requests import Request
from jittor_ipl.webui.settings import ServerSettings
from jittor_ipl.webui.task import Note, Task
from jittor_ipl.webui.uploads import Uploads
from jittor_ipl.webui.work.service import Service

LEARNING = ("learn", "learn-pictures")
log = logging.getLogger("jittor_ipl.webui")


class Busy(PageError):
    """The queue is full, or one owner has too much in it: come back later."""


class NoSuchJob(PageError):
    """There is no such job, or it is somebody else's, which is not told apart."""


class _Lane:
    """A queue and the worker that takes jobs from it."""

    def __init__(self, name: str, worker: Worker, fresh: bool = False):
        self.name, self.worker, self.waiting = name, worker, deque()
        self.fresh = fresh          # every job has a process of its own: a training leaves much memory behind
        self.running: Job | None = None
        self.ready = False          # the worker has loaded what all need


class Desk:
    """Jobs of all owners. `service` is what the workers run, called with (task, progress)."""

    def __init__(self, settings: ServerSettings, catalogue: Catalogue | None = None,
                 service: Callable[..., Any] | None = None):
        self.settings, self.catalogue = settings, catalogue or Catalogue(settings)
        self.uploads = Uploads(settings)
        self._root = settings.private / "jobs"
        service = service or Service(settings.keep)
        half = {"OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // 2))}
        self._lanes = {"draw": _Lane("draw", Worker(service, reports=True)),
                       "learn": _Lane("learn", Worker(service, half, reports=True), fresh=True)}
        self._jobs: dict[str, Job] = {}
        self._tasks: dict[str, Task] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._threads: list[threading.Thread] = []

    # ---- the server's side ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Read what an earlier server left, start the lanes and, behind the page, load the first models."""
        make_folder(self._root)
        self._jobs = {job.id: job for job in read_jobs(self._root)}
        for lane in self._lanes.values():
            thread = threading.Thread(target=self._run, args=(lane,), name=f"lane {lane.name}", daemon=True)
            thread.start()
            self._threads.append(thread)
        sweeper = threading.Thread(target=self._sweep, name="sweeper", daemon=True)
        sweeper.start()
        self._threads.append(sweeper)

    def stop(self) -> None:
        """End the workers and wait for the lanes; what was waiting or at work fails."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for lane in self._lanes.values():
            if lane.worker.busy:
                lane.worker.terminate()
        for thread in self._threads:
            thread.join(timeout=10)
        with self._changed:
            for job in self._jobs.values():
                if not job.over:
                    job.end("failed", error=stopped())
                    self._save(job)

    def state(self) -> dict[str, Any]:
        """Return what anybody may know: whether models are loaded, and how many jobs wait where."""
        with self._changed:
            return {"ready": self._lanes["draw"].ready, "queue": self.settings.queue,
                    "lanes": {name: {"waiting": len(lane.waiting), "running": lane.running is not None}
                              for name, lane in self._lanes.items()}}

    @property
    def pids(self) -> dict[str, int | None]:
        """The process number of every lane's worker."""
        return {name: lane.worker.pid for name, lane in self._lanes.items()}

    # ---- an owner's side -----------------------------------------------------------------------------------------

    def submit(self, request: Request, owner: str) -> Job:
        """Take a job into the queue; Busy where that is full, UserError where the request names what is not there."""
        lane = self._lanes["learn" if request.kind in LEARNING else "draw"]
        self._room(lane, owner)
        job_id = secrets.token_hex(8)
        folder = self._root / job_id
        find = Finder(self.catalogue.choices(), self.settings, lambda upload: self.uploads.path(upload, owner),
                      lambda other: self.job(other, owner))
        task = find.prepare(request, folder)
        job = Job(job_id, owner, request.model_dump(mode="json"), folder)
        with self._changed:
            self._room(lane, owner)
            folder.mkdir(mode=0o700)
            job.save()
            self._jobs[job_id], self._tasks[job_id] = job, task
            lane.waiting.append(job)
            self._changed.notify_all()
        return job

    def job(self, job_id: str, owner: str) -> Job:
        """Return an owner's job; NoSuchJob for any other."""
        job = self._jobs.get(job_id) if ID.fullmatch(job_id) else None
        if job is None or job.owner != owner:
            raise NoSuchJob("error.no_job", job=job_id[:40])
        return job

    def jobs(self, owner: str) -> list[Job]:
        """Return an owner's jobs, the newest first."""
        with self._changed:
            return [job for job in reversed(list(self._jobs.values())) if job.owner == owner]

    def told(self, job: Job) -> dict[str, Any]:
        """Return a job as JSON, with its place in the queue."""
        with self._changed:
            return job.to_json(self._place(job))

    def cancel(self, job_id: str, owner: str) -> Job:
        """Cancel a job: one that waits goes at once, one at work ends after its step; one that is over stays."""
        job = self.job(job_id, owner)
        with self._changed:
            lane = self._lanes["learn" if job.kind in LEARNING else "draw"]
            if job.state == "queued":
                lane.waiting.remove(job)
                self._tasks.pop(job.id, None)
                job.end("cancelled")
                job.save()
            elif job is lane.running and not job.cancelling:
                job.cancelling = True
                lane.worker.cancel()
            self._changed.notify_all()
        return job

    def forget(self, job_id: str, owner: str) -> None:
        """Remove a job that is over, with its pictures."""
        job = self.job(job_id, owner)
        with self._changed:
            if job.over:
                self._drop(job)

    def wait(self, job: Job, seconds: float) -> bool:
        """Wait until a job is over, at most so long; return whether it is."""
        until = time.monotonic() + seconds
        with self._changed:
            while not job.over and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
        return job.over

    # ---- inside --------------------------------------------------------------------------------------------------

    def _room(self, lane: _Lane, owner: str) -> None:
        """Raise Busy unless one more job of this owner fits."""
        with self._changed:
            if len(lane.waiting) >= self.settings.queue:
                raise Busy("error.queue_full", count=len(lane.waiting))
            mine = sum(job.owner == owner for one in self._lanes.values() for job in one.waiting)
            if mine >= self.settings.limits.waiting:
                raise Busy("error.own_queue_full", count=mine)

    def _place(self, job: Job) -> int | None:
        for lane in self._lanes.values():
            if job in lane.waiting:
                return lane.waiting.index(job)
        return None

    def _run(self, lane: _Lane) -> None:
        """A lane's thread: warm the worker, then job after job."""
        if lane.name == "draw":
            self._warm(lane)
        while (job := self._next(lane)) is not None:
            self._work(lane, job)
            if lane.fresh:
                lane.worker.stop()
        lane.worker.stop()

    def _warm(self, lane: _Lane) -> None:
        try:
            lane.worker.send(None)
            lane.worker.receive()
            lane.ready = True
        except BaseException as error:      # Interrupted, too, where the worker was ended from outside
            if not self._stopping:
                log.warning("the first models could not be loaded: %s", error)

    def _next(self, lane: _Lane) -> Job | None:
        with self._changed:
            while not lane.waiting and not self._stopping:
                self._changed.wait()
            if self._stopping:
                return None
            job = lane.running = lane.waiting.popleft()
            job.state, job.started = "running", time.time()
            self._changed.notify_all()
            return job

    def _work(self, lane: _Lane, job: Job) -> None:
        task, died = self._tasks.pop(job.id), False
        try:
            lane.worker.send(task)
            with self._changed:
                if job.cancelling:      # while the worker was starting, and could not hear it
                    lane.worker.cancel()
            outcome = lane.worker.receive(lambda note: self._hear(job, note))
            ended = ("cancelled", None, None) if outcome is None else ("done", outcome, None)
        except (WorkerDied, Interrupted):
            died, ended = True, ("failed", None, stopped() if self._stopping else PageError("error.died"))
        except UserError as error:
            ended = "failed", None, self._without_places(error)
        except Exception:
            mark = secrets.token_hex(3)
            log.exception("job %s (%s) failed, mark %s", job.id, job.kind, mark)
            ended = "failed", None, PageError("error.fault", mark=mark)
        with self._changed:
            job.end(*ended)
            lane.running = None
            self._save(job)
            self._changed.notify_all()
        if died and not self._stopping:
            log.warning("the worker of the lane %s died during job %s", lane.name, job.id)
            if lane.name == "draw":
                lane.ready = False
                self._warm(lane)

    def _hear(self, job: Job, note: Note) -> None:
        with self._changed:
            job.hear(note)
            self._changed.notify_all()

    def _save(self, job: Job) -> None:
        try:
            job.save()
        except UserError as error:
            log.warning("job %s is not recorded: %s", job.id, error)

    def _without_places(self, error: UserError) -> UserError:
        """Return a mistake without the paths of this machine: their last parts stay. Those of this room have none."""
        if isinstance(error, PageError):
            return error
        return UserError(re.sub(r"(?<![\w.])(?:/[\w.@+ -]*[\w.@+-])+", lambda match: Path(match[0]).name, str(error)))

    def _sweep(self) -> None:
        while True:
            with self._changed:
                if self._stopping or self._changed.wait_for(lambda: self._stopping, timeout=60):
                    return
                self._drop_old()
            self.uploads.sweep()

    def _drop_old(self) -> None:
        limits, counts = self.settings.limits, {}
        for job in sorted(self._jobs.values(), key=lambda job: -job.created):
            counts[job.owner] = counts.get(job.owner, 0) + 1
            counts[None] = counts.get(None, 0) + 1
            old = time.time() - job.created > limits.job_age
            if job.over and (old or counts[job.owner] > limits.jobs or counts[None] > limits.all_jobs):
                self._drop(job)

    def _drop(self, job: Job) -> None:
        del self._jobs[job.id]
        shutil.rmtree(job.folder, ignore_errors=True)

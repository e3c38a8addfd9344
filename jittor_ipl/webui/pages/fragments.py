"""Pieces of HTML that the page fetches by itself: a job, all jobs, the queue. A request waits until there is news."""
from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any
from zlib import crc32

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from jittor_ipl.errors import UserError
from jittor_ipl.webui.desk import Desk
from jittor_ipl.webui.guard import owner_of
from jittor_ipl.webui.jobs import Job
from jittor_ipl.webui.pages.showing import render, state_text, view
from jittor_ipl.webui.pages.words import LANGUAGES, Words

LONGEST = 15.0          # seconds that a request waits for news
LOOK = 0.05             # seconds between two looks
MOST_JOBS = 40          # on the page of jobs


def router(desk: Desk) -> APIRouter:
    """Return the routes under /fragments: each answers 204 when nothing is new to one who has `seen` a version."""
    routes = APIRouter(prefix="/fragments", include_in_schema=False)

    @routes.get("/{language}/jobs/{job_id}")
    async def one(language: str, job_id: str, request: Request, seen: str = "") -> Response:
        words, owner = _words(language), owner_of(request)
        job = _found(desk, job_id, owner)
        return await _news(lambda: _mark(desk, job), lambda: _one(desk, job_id, owner, words), lambda: job.over, seen,
                           request)

    @routes.get("/{language}/jobs")
    async def every(language: str, request: Request, seen: str = "") -> Response:
        words, owner = _words(language), owner_of(request)
        return await _news(lambda: [_mark(desk, job) for job in desk.jobs(owner)], lambda: _every(desk, owner, words),
                           lambda: False, seen, request)

    @routes.get("/{language}/queue")
    async def queue(language: str, request: Request) -> Response:
        return HTMLResponse(_queue(desk, owner_of(request), _words(language)), headers={"Cache-Control": "no-store"})

    return routes


def _words(language: str) -> Words:
    if language not in LANGUAGES:
        raise HTTPException(404, "no such language")
    return Words(language)


def _found(desk: Desk, job_id: str, owner: str) -> Job:
    try:
        return desk.job(job_id, owner)
    except UserError as error:
        raise HTTPException(404, str(error)) from None


def _mark(desk: Desk, job: Job) -> tuple[Any, ...]:
    """Return what changes whenever there is something new to see of a job."""
    place = desk.told(job)["place"] if job.state == "queued" else None
    return (job.id, job.state, place, tuple(job.stage.values()), round(job.fraction, 2), len(job.pictures),
            len(job.loss), job.cancelling)


async def _news(mark: Callable[[], Any], show: Callable[[], Markup], over: Callable[[], bool], seen: str,
                request: Request) -> Response:
    """Return what `show` gives as soon as its mark is another than the one `seen`, 204 when that takes too long."""
    until = time.monotonic() + LONGEST
    while (version := f"{crc32(repr(mark()).encode()):08x}") == seen:
        if time.monotonic() > until or await request.is_disconnected():
            return Response(status_code=204)
        await asyncio.sleep(LOOK)
    headers = {"X-Version": version, "Cache-Control": "no-store"}
    if over():      # asked before it is shown: what ends while it is being shown has more to show
        headers["X-Over"] = "1"
    return HTMLResponse(show(), headers=headers)


def _one(desk: Desk, job_id: str, owner: str, words: Words) -> Markup:
    shown = view(desk.told(_found(desk, job_id, owner)), words)
    return render("job.html", words, job=shown)


def _every(desk: Desk, owner: str, words: Words) -> Markup:
    jobs = [view(desk.told(job), words) for job in desk.jobs(owner)[:MOST_JOBS]]
    return render("jobs.html", words, jobs=jobs)


def _queue(desk: Desk, owner: str, words: Words) -> Markup:
    """Return the line in the header: how many jobs of one's own are open, and what the first of them is at."""
    mine = [job for job in desk.jobs(owner) if not job.over]
    if not mine:
        ready = desk.state()["ready"]
        return render("queue.html", words, state="idle" if ready else "loading",
                      text=words("nav.jobs") if ready else words("site.loading"))
    return render("queue.html", words, state="busy", text=words("site.queue_mine", count=len(mine),
                                                                text=state_text(desk.told(mine[-1]), words)))

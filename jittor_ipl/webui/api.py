"""The JSON API: everything that the page does, for programs. docs/web-ui.md describes it with an example."""
from __future__ import annotations

import json
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from jittor_ipl import __version__
from jittor_ipl.errors import UserError
from jittor_ipl.webui import results
from jittor_ipl.webui.desk import Busy, Desk, NoSuchJob
from jittor_ipl.webui.guard import owner_of
from jittor_ipl.webui.page_error import PageError
from jittor_ipl.webui.png import read_settings
from jittor_ipl.webui.requests import parse

PREFIX = "/api/v1"
LONGEST_WAIT = 30.0     # seconds that a request may wait for a job to end
MOST_WAITING = 400      # such requests at once, in threads of their own: all others stay free
TYPES = {".png": "image/png", ".json": "application/json", ".safetensors": "application/octet-stream",
         ".npy": "application/octet-stream"}


def router(desk: Desk) -> APIRouter:
    """Return all routes over a desk."""
    routes = APIRouter(prefix=PREFIX)
    for add in (_jobs, _uploads, _results):
        add(routes, desk)

    @routes.get("/health")
    def health() -> dict[str, Any]:
        return {"version": __version__, **desk.state()}

    @routes.get("/catalogue")
    def catalogue() -> dict[str, Any]:
        return desk.catalogue.choices().to_json()
    return routes


def _jobs(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/jobs")
    async def submit(request: Request) -> JSONResponse:
        given = _json(await request.body())
        job = await run_in_threadpool(lambda: desk.submit(parse(given), owner_of(request)))
        return JSONResponse(desk.told(job), 202)

    @routes.get("/jobs")
    def jobs(request: Request) -> dict[str, Any]:
        return {"jobs": [desk.told(job) for job in desk.jobs(owner_of(request))]}

    waiting = CapacityLimiter(MOST_WAITING)

    @routes.get("/jobs/{job_id}")
    async def job(request: Request, job_id: str, wait: float = 0.0) -> dict[str, Any]:
        found = desk.job(job_id, owner_of(request))
        if wait > 0 and not found.over:
            await to_thread.run_sync(desk.wait, found, min(wait, LONGEST_WAIT), limiter=waiting)
        return desk.told(found)

    @routes.delete("/jobs/{job_id}")
    def cancel(request: Request, job_id: str, forget: bool = False) -> dict[str, Any]:
        """Cancel a job; with `forget` one that is over goes, and its pictures with it."""
        owner = owner_of(request)
        told = desk.told(desk.cancel(job_id, owner))
        if forget:
            desk.forget(job_id, owner)
        return told

    @routes.get("/jobs/{job_id}/files/{name}")
    def file(request: Request, job_id: str, name: str) -> FileResponse:
        found = desk.job(job_id, owner_of(request))
        if name not in {picture["name"] for picture in found.pictures} | set(found.files):
            raise NoSuchJob("error.no_file", name=name[:60])
        path = found.folder / name
        return FileResponse(path, media_type=TYPES.get(path.suffix, "application/octet-stream"),
                            headers={"cache-control": "private, max-age=3600"})


def _uploads(routes: APIRouter, desk: Desk) -> None:
    @routes.post("/uploads")
    async def upload(request: Request) -> JSONResponse:
        data = await request.body()
        return JSONResponse(await run_in_threadpool(desk.uploads.add, data, owner_of(request)), 201)

    @routes.get("/uploads/{upload_id}")
    def uploaded(request: Request, upload_id: str) -> FileResponse:
        return FileResponse(desk.uploads.path(upload_id, owner_of(request)), media_type="image/png")

    @routes.post("/settings")
    async def settings(request: Request) -> dict[str, Any]:
        return read_settings(await request.body())


def _results(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/results")
    def suites() -> dict[str, Any]:
        return {"suites": results.suites(desk.settings)}

    @routes.get("/results/{suite}")
    def suite(suite: str) -> dict[str, Any]:
        return results.suite_to_json(desk.settings, suite)

    @routes.get("/results/{suite}/{number}/{name}")
    def picture(suite: str, number: str, name: str) -> FileResponse:
        return FileResponse(results.picture(desk.settings, suite, number, name), media_type="image/png")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise PageError("error.no_json") from None


def answer_errors(app: Any) -> None:
    """Have mistakes of a user's answered in one line, and ours without anything of the inside."""
    def told(status: int):
        async def handler(request: Request, error: Exception) -> Response:
            headers = {"retry-after": "10"} if status == 503 else None
            return JSONResponse({"error": str(error)}, status, headers)
        return handler
    for kind, status in ((UserError, 422), (Busy, 503), (NoSuchJob, 404)):
        app.add_exception_handler(kind, told(status))

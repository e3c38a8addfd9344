"""The first seconds of a server: programs wait for the application, people are shown that it is coming."""
from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("starlette", reason="the page's packages are not installed: pip install -r requirements-ui.txt")
from jittor_ipl.webui import opening  # noqa: E402
from jittor_ipl.webui.guard import HEADERS  # noqa: E402
from jittor_ipl.webui.opening import Opening  # noqa: E402


async def page(scope, receive, send):
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b"the page itself"})


async def asked(app, accept: bytes) -> list[dict]:
    sent: list[dict] = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request"}
    await app({"type": "http", "method": "GET", "path": "/", "headers": [(b"accept", accept)]}, receive, send)
    return sent


async def opened(build, visit) -> tuple[list[BaseException], list[str]]:
    """Run a server's life around `visit(app)`; return what failed, and what the lifespan told."""
    failures, told, ending = [], [], asyncio.Event()
    app, begun = Opening(build, failures.append), [False]

    async def receive():
        if begun[0]:
            await ending.wait()
        begun[0] = True
        return {}

    async def send(message):
        told.append(message["type"])
    life = asyncio.create_task(app({"type": "lifespan"}, receive, send))
    await visit(app)
    ending.set()
    await asyncio.wait_for(life, 10)
    return failures, told


def test_people_see_that_it_is_coming_and_programs_get_the_application(monkeypatch):
    monkeypatch.setattr(opening, "PATIENCE", 0.05)
    finished, states = threading.Event(), []

    @asynccontextmanager
    async def alive():
        states.append("open")
        yield
        states.append("closed")

    def build():
        assert finished.wait(10)
        return page, alive()

    async def visit(app):
        soon = await asked(app, b"text/html,*/*")
        assert soon[0]["status"] == 200 and b"put together" in soon[1]["body"] and b"refresh" in soon[1]["body"]
        assert HEADERS["content-security-policy"].encode() in dict(soon[0]["headers"]).values()
        program = asyncio.create_task(asked(app, b"application/json"))
        await asyncio.sleep(0.1)
        assert not program.done()
        finished.set()
        for answer in (await program, await asked(app, b"text/html")):
            assert answer[0]["status"] == 299 and states == ["open"]
    failures, told = asyncio.run(opened(build, visit))
    assert failures == [] and states == ["open", "closed"]
    assert told == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_what_goes_wrong_is_told_to_who_started_it_and_to_who_waits():
    asking = threading.Event()

    def build():
        assert asking.wait(10)
        raise RuntimeError("no such package")

    async def visit(app):
        program = asyncio.create_task(asked(app, b"application/json"))
        await asyncio.sleep(0)
        asking.set()
        answer = await asyncio.wait_for(program, 10)
        assert answer[0]["status"] == 503
    failures, _ = asyncio.run(opened(build, visit))
    assert [str(one) for one in failures] == ["no such package"]

"""The first seconds of a server: it listens at once, while Gradio is imported and the pages are put together."""
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, PlainTextResponse

from jittor_ipl.webui.guard import HEADERS, Receive, Scope, Send

PATIENCE = 2.5      # seconds that a person waits for the page itself, before one that says that it is coming
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
# What makes the application, and what has to be open while it runs: Starlette's lifespan.
Build = Callable[[], tuple[Application, AbstractAsyncContextManager[Any]]]
_SOON = HTMLResponse("""<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="1">
<meta name="viewport" content="width=device-width"><title>jittor_ipl</title>
<style>:root{color-scheme:light dark}body{font:1.2rem/1.6 system-ui,sans-serif;margin:20vh auto;text-align:center}
</style><main role="status"><p>The page is being put together ...</p><p lang="zh">页面正在准备 ...</p></main></html>""",
                     headers={**HEADERS, "cache-control": "no-store"})
_NEVER = PlainTextResponse("the page could not be put together: the server ends", 503, headers=HEADERS)


class Opening:
    """Passes everything on to the application that `build` makes, once it is there.

    Until then programs wait, and who asks for a page waits `PATIENCE` seconds and is then shown one that asks again.
    `failed` is called with what went wrong where there will be none.
    """

    def __init__(self, build: Build, failed: Callable[[BaseException], object]):
        self._build, self._failed = build, failed
        self._application: Application | None = None
        self._ready, self._ending = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the lifespan of the server."""
        if scope["type"] == "lifespan":
            return await self._live(receive, send)
        if not self._ready.is_set():
            if scope["type"] == "http" and any(name == b"accept" and b"text/html" in value
                                               for name, value in scope["headers"]):
                try:
                    await asyncio.wait_for(self._ready.wait(), PATIENCE)
                except asyncio.TimeoutError:
                    return await _SOON(scope, receive, send)
            await self._ready.wait()
        await self._application(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()                         # lifespan.startup
        serving = asyncio.create_task(self._serve())
        await send({"type": "lifespan.startup.complete"})
        await receive()                         # lifespan.shutdown
        self._ending.set()
        await serving
        await send({"type": "lifespan.shutdown.complete"})

    async def _serve(self) -> None:
        try:
            self._application, alive = await run_in_threadpool(self._build)
            async with alive:
                self._ready.set()
                await self._ending.wait()
        except Exception as error:
            self._application = _NEVER      # who waits is answered, for the server ends only then
            self._ready.set()
            self._failed(error)

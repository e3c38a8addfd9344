"""Puts the server together, page, API and guard around the desk, and runs it."""
from __future__ import annotations

import os
import shutil
import socket
import warnings
from contextlib import asynccontextmanager
from typing import Any

from jittor_ipl.disk.atomic import make_folder
from jittor_ipl.disk.lock import locked
from jittor_ipl.errors import UserError
from jittor_ipl.webui.accounts import Accounts
from jittor_ipl.webui.desk import Desk
from jittor_ipl.webui.guard import Guard, is_loopback
from jittor_ipl.webui.opening import Opening
from jittor_ipl.webui.quick_gradio import import_gradio
from jittor_ipl.webui.settings import ServerSettings


def check(settings: ServerSettings) -> None:
    """Raise UserError for a server that anybody could reach without signing in."""
    if settings.auth is None and not is_loopback(settings.host):
        raise UserError(f"--host {settings.host} lets others in: give --auth-file FILE, a file of users made with "
                        "--add-user NAME, or leave --host out")


def application(settings: ServerSettings, desk: Desk, accounts: Accounts | None) -> Guard:
    """Return the ASGI application: the guard around the API, the page, and signing in where there are accounts."""
    import_gradio(make_folder(settings.private / "gradio"))
    from fastapi import FastAPI

    from jittor_ipl.webui import api, pages, signing_in

    @asynccontextmanager
    async def alive(app: FastAPI):
        yield
        desk.stop()
    app = FastAPI(title="jittor_ipl", docs_url=None, redoc_url=None, openapi_url=None, lifespan=alive)
    api.answer_errors(app)
    app.include_router(api.router(desk))
    if accounts is not None:
        app.include_router(signing_in.router(accounts))
    with warnings.catch_warnings():     # that Gradio renders no page on the server, which nobody asked for
        warnings.filterwarnings("ignore", message="SSR mode")
        pages.mount(app, desk, settings)
    return Guard(app, settings, accounts)


def serve(settings: ServerSettings) -> None:
    """Serve until a signal comes. UserError where the address is taken, a file is missing, or nobody must sign in."""
    import uvicorn
    check(settings)
    accounts = None if settings.auth is None else Accounts(settings.auth)
    listening = _listen(settings.host, settings.port)
    make_folder(settings.runs)
    settings.private.mkdir(mode=0o700, exist_ok=True)
    os.chmod(settings.private, 0o700)
    with locked(settings.private):
        shutil.rmtree(settings.private / "gradio", ignore_errors=True)
        desk = Desk(settings)
        desk.start()
        problems: list[BaseException] = []

        def build() -> tuple[Guard, Any]:
            guard = application(settings, desk, accounts)
            return guard, guard.app.router.lifespan_context(guard.app)

        def failed(problem: BaseException) -> None:
            problems.append(problem)
            server.should_exit = True
        config = uvicorn.Config(Opening(build, failed), log_level="warning", server_header=False, timeout_keep_alive=15,
                                limit_concurrency=400, h11_max_incomplete_event_size=32 << 10, access_log=False)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        print(f"http://{host}:{listening.getsockname()[1]}  (Ctrl-C ends it)", flush=True)
        server = uvicorn.Server(config)
        server.run(sockets=[listening])
        desk.stop()
        for problem in problems:
            raise problem


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there; UserError where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"cannot listen on {host}, port {port}: {reason}; choose another --port, or 0 for any") \
            from None
    listening.listen(200)
    return listening

"""What stands before every route: hosts, sign-in, whose request it is, sizes, times and shapes of bodies, headers.

Plain ASGI, so that it sees a body piece by piece and holds for Gradio's routes and ours alike.
"""
from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool

from jittor_ipl.webui.accounts import Accounts
from jittor_ipl.webui.page_error import PageError
from jittor_ipl.webui.pages.words import LANGUAGES, Phrase, Words
from jittor_ipl.webui.settings import ServerSettings

Scope, Receive, Send = dict[str, Any], Callable[[], Awaitable[dict]], Callable[[dict], Awaitable[None]]
OWNER_HEADER = b"x-jittor-ipl-owner"        # set here, whatever a client sends under that name
COOKIE, SESSION = "jittor_ipl_owner", "jittor_ipl_session"
_OWNER = re.compile(r"[A-Za-z0-9_-]{22}")
_YEAR = 365 * 24 * 3600
HEADERS = {
    # With "no-referrer" browsers call the origin of a form "null", which is refused: nobody could sign in.
    "x-content-type-options": "nosniff", "referrer-policy": "same-origin", "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(self), microphone=(), geolocation=()",
    # Gradio builds its page by inline scripts and styles; nothing is loaded from or sent to another host.
    "content-security-policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
                               "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' blob:; "
                               "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
                               "frame-ancestors 'none'; form-action 'self'; base-uri 'self'; object-src 'none'"}
OURS = ("/api/v1/", "/fragments/", "/static/")     # Gradio has no route below these, and results may be called "dev"
# Gradio's routes, in each language, that fetch from elsewhere, run what is posted, or tell about the server.
CLOSED = re.compile(r"/(proxy=|file=/*(https?|ftp):|vibe-|undo-vibe-|dev/|monitoring|profiling|run-history|deep_link|"
                    r"custom_component|process_recording|openapi\.json)|/gradio_api/+(api|call|info|run|runs)(/|$)")
OPEN = ("/login", "/api/v1/health")         # without signing in


class Refusal(Exception):
    """A request that goes no further: its status, and in a key of words.json and its fields why."""

    def __init__(self, status: int, key: str, headers: Mapping[str, str] | None = None, **fields: Any):
        super().__init__(key)
        self.status, self.headers, self.said = status, dict(headers or {}), Phrase(key, fields)


def owner_of(request: Any) -> str:
    """Return whose a request is: the signed-in user's, or the browser's. Of starlette's and Gradio's requests alike."""
    return request.headers[OWNER_HEADER.decode()]


class Guard:
    """Wraps the whole application."""

    def __init__(self, app: Callable[..., Awaitable[None]], settings: ServerSettings, accounts: Accounts | None):
        self.app, self.settings, self.accounts = app, settings, accounts
        self.hosts = None if accounts else {settings.host, "localhost", "127.0.0.1", "[::1]", "::1"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":             # nothing here speaks WebSocket
            return None
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        extra: dict[str, str] = {}
        try:
            self._check_place(scope, headers)
            owner = await self._owner(scope, headers, extra)
            receive = await self._checked_body(scope, headers, receive)
        except Refusal as refusal:
            return await _refuse(scope, send, refusal)
        kept = [(name, value) for name, value in scope["headers"] if name != OWNER_HEADER]
        inner = {**scope, "headers": [*kept, (OWNER_HEADER, owner.encode())]}
        answer = _Answer(scope, send, extra)
        try:
            await self.app(inner, answer.watching(receive), answer)
        except Exception:
            if answer.refusal is None:
                raise
        await answer.refuse()

    # ---- who and where -------------------------------------------------------------------------------------------

    def _check_place(self, scope: Scope, headers: Mapping[str, str]) -> None:
        path = scope["path"]
        closed = not path.startswith(OURS) and CLOSED.search(path)
        if closed or "\\" in path or "\0" in path or ".." in path:
            raise Refusal(404, "error.nothing_here")
        host = headers.get("host", "")
        if self.hosts is not None and _name(host) not in self.hosts:        # a page elsewhere that resolves to us
            raise Refusal(400, "error.other_host", hosts=", ".join(sorted(self.hosts)))
        origin = headers.get("origin")
        if scope["method"] not in ("GET", "HEAD") and origin and urlsplit(origin).netloc != host:
            raise Refusal(403, "error.other_page")

    async def _owner(self, scope: Scope, headers: Mapping[str, str], extra: dict[str, str]) -> str:
        cookies = _cookies(headers.get("cookie", ""))
        if self.accounts is None:
            known = cookies.get(COOKIE, "")
            if not _OWNER.fullmatch(known):
                known = secrets.token_urlsafe(16)
                extra["set-cookie"] = f"{COOKIE}={known}; Path=/; Max-Age={_YEAR}; HttpOnly; SameSite=Strict"
            return f"browser {known}"
        user = self.accounts.user(cookies.get(SESSION, "")) or await self._by_password(scope, headers)
        if user is None and not any(scope["path"].rstrip("/") == path for path in OPEN):
            if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
                raise Refusal(303, "error.sign_in", {"location": "/login"})
            raise Refusal(401, "error.sign_in",
                          {"www-authenticate": 'Basic realm="jittor_ipl"'} if "/api/v1/" in scope["path"] else None)
        return f"user {user}"

    async def _by_password(self, scope: Scope, headers: Mapping[str, str]) -> str | None:
        """Return the user that HTTP Basic names; Refusal for a wrong password."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            name, _, password = base64.b64decode(given, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise Refusal(401, "error.authorization") from None
        try:
            right = await run_in_threadpool(self.accounts.check, name, password, address_of(scope))
        except PageError as error:
            raise Refusal(429, error.key, **error.fields) from None
        if not right:
            raise Refusal(401, "error.wrong_password")
        return name

    # ---- bodies --------------------------------------------------------------------------------------------------

    async def _checked_body(self, scope: Scope, headers: Mapping[str, str], receive: Receive) -> Receive:
        """Return what the application reads the body from; Refusal where it is too large, slow or deep.

        JSON is read whole and checked before anything parses it; uploads pass through piece by piece, counted.
        """
        if scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return receive
        limits, kind = self.settings.limits, headers.get("content-type", "").partition(";")[0].strip().lower()
        upload = kind in ("multipart/form-data", "image/png", "image/jpeg", "image/webp", "application/octet-stream")
        most = limits.body + (64 << 10) if upload else limits.json_body
        declared = headers.get("content-length", "0")
        if not declared.isascii() or not declared.isdigit():
            raise Refusal(400, "error.no_length")
        if len(declared) > 15 or int(declared) > most:
            raise Refusal(413, "error.large_request", size=declared[:15], most=most)
        counted = _counted(receive, most, limits.body_seconds)
        if upload:
            return counted
        body = await _whole(counted)
        check_depth(body, limits.json_depth)
        return _replayed(body, receive)


def check_depth(body: bytes, most: int) -> None:
    """Raise Refusal for JSON whose objects and lists lie deeper in one another than `most`; strings do not count."""
    depth, text, escaped = 0, False, False
    for byte in body:
        if text:
            text = escaped or byte != 0x22      # "
            escaped = byte == 0x5C and not escaped
        elif byte == 0x22:
            text = True
        elif byte in b"[{":
            depth += 1
            if depth > most:
                raise Refusal(400, "error.deep_json", most=most)
        elif byte in b"]}":
            depth -= 1


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def address_of(scope: Scope) -> str:
    """Return the address that a request comes from."""
    return (scope.get("client") or ("unknown",))[0]


def _name(host: str) -> str:
    """Return a Host header without its port."""
    return host if host.endswith("]") else re.sub(r":\d{1,5}$", "", host)


def _cookies(text: str) -> dict[str, str]:
    try:
        return {name: morsel.value for name, morsel in SimpleCookie(text).items()}
    except CookieError:
        return {}


def _counted(receive: Receive, most: int, seconds: float) -> Receive:
    """Return a receive that refuses more than `most` bytes and what takes longer than `seconds` in all."""
    taken, until = 0, asyncio.get_running_loop().time() + seconds
    ended = False

    async def next_part() -> dict:
        nonlocal taken, ended
        if ended:                   # then only the end of the connection is waited for, as long as it lasts
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), until - asyncio.get_running_loop().time())
        except asyncio.TimeoutError:
            raise Refusal(408, "error.late_request", seconds=round(seconds)) from None
        taken += len(message.get("body", b""))
        if taken > most:
            raise Refusal(413, "error.larger_request", most=most)
        ended = not message.get("more_body", False)
        return message
    return next_part


async def _whole(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "error.cut_request")
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    told = False

    async def next_part() -> dict:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}
    return next_part


class _Answer:
    """Sends the application's answer with our headers, or, where its body was refused midway, the refusal in its place.
    """

    def __init__(self, scope: Scope, send: Send, extra: Mapping[str, str]):
        self._scope, self._send, self._headers = scope, send, {**HEADERS, **extra}
        self._begun = False
        self.refusal: Refusal | None = None

    async def __call__(self, message: dict) -> None:
        if self.refusal is not None and not self._begun:
            return              # what the application makes of it is not sent
        if message["type"] == "http.response.start":
            self._begun = True
            there = {name.lower() for name, _ in message["headers"]}
            added = [(name.encode(), value.encode()) for name, value in self._headers.items()
                     if name == "set-cookie" or name.encode() not in there]
            message = {**message, "headers": [*message["headers"], *added]}
        await self._send(message)

    def watching(self, receive: Receive) -> Receive:
        """Return a receive that notes a refusal on its way to the application."""
        async def next_part() -> dict:
            try:
                return await receive()
            except Refusal as refusal:
                self.refusal = refusal
                raise
        return next_part

    async def refuse(self) -> None:
        """Answer with the refusal, where there is one and nothing was sent yet."""
        if self.refusal is not None and not self._begun:
            self._begun = True
            await _refuse(self._scope, self._send, self.refusal)


async def _refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Answer with a refusal, in the language of the page whose route it is; all others are for programs: English."""
    page = scope["path"].lstrip("/").partition("/")[0]
    text = Words(page if page in LANGUAGES else "en").phrase(refusal.said)
    body = json.dumps({"error": text}, ensure_ascii=False).encode()
    headers = {**HEADERS, "content-type": "application/json", "content-length": str(len(body)),
               "connection": "close", **refusal.headers}
    await send({"type": "http.response.start", "status": refusal.status,
                "headers": [(name.encode(), value.encode()) for name, value in headers.items()]})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

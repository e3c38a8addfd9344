"""The document that carries each of Gradio's pages has its language and our script from the start.

What Gradio is given for the <head> it adds later, by a script: when it may have taken its own words from the browser's
language already. Our style sheet comes that way, since it has to follow Gradio's.
"""
from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from jittor_ipl.webui.pages.style_sheet import address

_START = re.compile(rb'<html(\s[^>]*?)?\slang="[^"]*"([^>]*)>\s*<head>')


class Documents:
    """ASGI application around `app`: documents below "/KEY" are in the HTML language that `languages` has for the key.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], languages: Mapping[str, str]) -> None:
        self.app, self.languages = app, languages

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        """Serve one request."""
        key = scope["path"].lstrip("/").partition("/")[0] if scope["type"] == "http" else ""
        tag = self.languages.get(key)
        await self.app(scope, receive, send if tag is None else _Rewriting(send, tag))


class _Rewriting:
    """What a document is sent to: it goes on in one piece, everything else as it comes."""

    def __init__(self, send: Callable[[dict], Awaitable[None]], tag: str) -> None:
        self.send, self.tag = send, tag
        self.start: dict[str, Any] | None = None
        self.body = bytearray()

    async def __call__(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start" and dict(message["headers"]).get(
                b"content-type", b"").startswith(b"text/html"):
            self.start = message
        elif self.start is None or message["type"] != "http.response.body":
            await self.send(message)
        else:
            self.body += message.get("body", b"")
            if not message.get("more_body"):
                body = in_language(bytes(self.body), self.tag)
                headers = [(name, value) for name, value in self.start["headers"] if name != b"content-length"]
                headers.append((b"content-length", str(len(body)).encode()))
                await self.send({**self.start, "headers": headers})
                await self.send({**message, "body": body})


def in_language(document: bytes, tag: str) -> bytes:
    """Return one of Gradio's documents in the HTML language `tag`; other documents come back unchanged.

    Gradio takes the language of its own words (upload, webcam) from the browser: it is told the document's.
    """
    scripts = (f'<script>Object.defineProperty(navigator, "language", {{get: () => "{tag}"}});</script>'
               f'<script src="{address("page.js")}" defer></script>')
    return _START.sub(lambda found: b'<html%s lang="%s"%s><head>%s' % (
        found[1] or b"", tag.encode(), found[2], scripts.encode()), document, count=1)

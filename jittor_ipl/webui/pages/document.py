"""The document that carries each of Gradio's pages has its language, its icon and our script from the start.

What Gradio is given for the <head> it adds later, by a script: when it may have taken its own words from the browser's
language already. Our style sheet comes that way, since it has to follow Gradio's.
"""
from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

from jittor_ipl.webui.pages.style_sheet import address
from jittor_ipl.webui.pages.words import HTML_LANGUAGE, Words, words_table

_START = re.compile(rb'<html(\s[^>]*?)?\slang="[^"]*"([^>]*)>\s*<head>')


class Documents:
    """ASGI application around `app`: documents below "/en" and "/zh" are in that language."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Callable, send: Callable) -> None:
        """Serve one request."""
        language = scope["path"].lstrip("/").partition("/")[0] if scope["type"] == "http" else ""
        await self.app(scope, receive, _Rewriting(send, language) if language in HTML_LANGUAGE else send)


class _Rewriting:
    """What a document is sent to: it goes on in one piece, everything else as it comes."""

    def __init__(self, send: Callable[[dict], Awaitable[None]], language: str) -> None:
        self.send, self.language = send, language
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
                body = in_language(bytes(self.body), self.language)
                headers = [(name, value) for name, value in self.start["headers"] if name != b"content-length"]
                headers.append((b"content-length", str(len(body)).encode()))
                await self.send({**self.start, "headers": headers})
                await self.send({**message, "body": body})


def in_language(document: bytes, language: str) -> bytes:
    """Return one of Gradio's documents in a language of the page; other documents come back unchanged.

    Gradio takes the language of its own words (upload, webcam) from the browser: it is told the document's. Those that
    it has in English alone page.js replaces. Without an icon browsers ask for /favicon.ico.
    """
    tag = HTML_LANGUAGE[language]
    added = (f'<link rel="icon" href="data:,"><script>Object.defineProperty(navigator, "language", {{get: () => "{tag}"'
             f'}}); window.gradioWords = {json.dumps(gradio_words(language))};</script>'
             f'<script src="{address("page.js")}" defer></script>')
    return _START.sub(lambda found: b'<html%s lang="%s"%s><head>%s' % (
        found[1] or b"", tag.encode(), found[2], added.encode()), document, count=1)


def gradio_words(language: str) -> list[tuple[str, str]]:
    """Return [English, ours] of the words that Gradio has in English alone, nothing for English; {label} is a field's.
    """
    theirs = Words("en")
    pairs = [(theirs(key, label="{label}"), Words(language)(key, label="{label}")) for key in words_table()
             if key.startswith("gradio.")]
    return [(english, ours) for english, ours in pairs if english != ours]

"""A real S3-compatible server process, moto's, that fails now and then: `python flaky_s3.py RATE SEED` prints its port.

Of the requests the part RATE fails, in three ways in turn: refused before anything is done, done without an answer that
says so, and answered with a body that is cut off.
"""
from __future__ import annotations

import json
import random
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

WAYS = ("refused", "done, but told otherwise", "cut off")


class Flaky:
    """A WSGI application in front of moto's; `/flaky` tells how many requests came and how many failed in which way."""

    def __init__(self, rate: float, seed: int) -> None:
        self.server = DomainDispatcherApplication(create_backend_app)
        self.rate, self.random, self.lock = rate, random.Random(seed), threading.Lock()
        self.counts = {"requests": 0, **dict.fromkeys(WAYS, 0)}

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/flaky":
            start("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(self.counts).encode()]
        way = self.draw()
        if way == "refused":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        if way is None:
            return self.server(environ, start)
        answer: list[Any] = []
        body = b"".join(self.server(environ, lambda status, headers, info=None: answer.append((status, headers))))
        status, headers = answer[0]
        if way == WAYS[1]:
            start("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        start(status, [*((k, v) for k, v in headers if k.lower() != "content-length"),
                       ("Content-Length", str(len(body)))])
        return [body[:len(body) // 2]]

    def draw(self) -> str | None:
        """Return how this request fails, None for not at all."""
        with self.lock:
            self.counts["requests"] += 1
            if self.random.random() >= self.rate:
                return None
            way = WAYS[sum(self.counts[one] for one in WAYS) % len(WAYS)]
            self.counts[way] += 1
            return way


class Quiet(WSGIRequestHandler):
    """Logs nothing; it closes every connection, so that a body that is cut off ends."""

    def log(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    """Serve on loopback until the process is ended."""
    server = make_server("127.0.0.1", 0, Flaky(float(sys.argv[1]), int(sys.argv[2])), threaded=True,
                         request_handler=Quiet)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()

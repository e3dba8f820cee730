"""A server on the loopback address that gives one file well, badly or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What the server gives, how, and what it was asked.

    Attributes:
        content: the file.
        cut_after: bytes after which the connection ends, for the first `cuts` requests.
        tag: the ETag; empty for none.
        ranges: False ignores Range headers.
        redirect: where to send everybody.
        status: an error to answer with instead.
        kind: Content-Type.
        asked: the Range header of every request, "" where there was none.
    """

    content: bytes = b""
    cut_after: int = 0
    cuts: int = 0
    tag: str = '"one"'
    ranges: bool = True
    redirect: str = ""
    status: int = 200
    kind: str = "application/octet-stream"
    asked: list[str] = field(default_factory=list)
    url: str = ""


class _Handler(BaseHTTPRequestHandler):
    served: Served

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        served = self.served
        asked = self.headers.get("Range", "")
        served.asked.append(asked)
        if served.redirect:
            self.send_response(302)
            self.send_header("Location", served.redirect)
            self.end_headers()
            return
        if served.status != 200:
            self.send_error(served.status)
            return
        start = self._start(asked)
        if start is not None and start >= len(served.content):
            self.send_error(416)
            return
        body = served.content[start or 0 :]
        self.send_response(200 if start is None else 206)
        self.send_header("Content-Type", served.kind)
        self.send_header("Content-Length", str(len(body)))
        if served.tag:
            self.send_header("ETag", served.tag)
        if start is not None:
            whole = len(served.content)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.end_headers()
        if served.cuts > 0:
            served.cuts -= 1
            body = body[: served.cut_after]
        self.wfile.write(body)
        self.close_connection = True

    def _start(self, asked: str) -> int | None:
        same = self.headers.get("If-Range", self.served.tag) == self.served.tag
        if not (asked and self.served.ranges and same):
            return None
        return int(asked.removeprefix("bytes=").rstrip("-"))


@contextmanager
def serving(content: bytes) -> Iterator[Served]:
    """Serve `content` at the yielded object's `url` while the body runs."""
    served = Served(content)
    handler = type("Handler", (_Handler,), {"served": served})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        served.url = f"http://127.0.0.1:{server.server_port}/weights.bin"
        try:
            yield served
        finally:
            server.shutdown()
            thread.join()

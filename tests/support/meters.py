"""A meter's HTTP server for tests: it answers by path as it is told, and can be slow, cut, or gone."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request; the server's ``answer`` replies."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answers, and remembers what was asked for."""
        self.server.asked.append((self.path, dict(self.headers)))
        self.server.answer(self)

    def log_message(self, *arguments: Any) -> None:
        """Nothing: tests read no log."""

    def send_json(self, document: Any, status: int = 200, **headers: str) -> None:
        """A whole answer."""
        self.send_bytes(json.dumps(document).encode(), status, **headers)

    def send_bytes(self, body: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        """A whole answer; ``length``: what it says its length is."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True


class MeterServer(ThreadingHTTPServer):
    """``url`` is its address, ``asked`` what it was asked for: (path, headers)."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.answer = answer
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that hung up is what some tests want."""


@contextmanager
def meter_server(answer: Answer) -> Iterator[MeterServer]:
    """The running server."""
    server = MeterServer(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def by_path(answers: dict[str, Any]) -> Answer:
    """Answers JSON documents by path, 404 for the rest."""

    def answer(request: Request) -> None:
        if request.path in answers:
            request.send_json(answers[request.path])
        else:
            request.send_json({"code": 404, "message": "No handler"}, 404)

    return answer

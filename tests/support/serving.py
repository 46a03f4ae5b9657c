"""`edgewise serve` in a thread of the test, on a free port."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from device_agents.split.wire import Answer, Endpoint, Wire, plain
from offload.serve import models as served
from offload.serve.metrics import Metrics
from offload.serve.server import Options, Server, run
from offload.serve.tails import Engine, TailCache


@dataclass
class Served:
    """A running server. ``log`` has a line for each request."""

    url: str = ""
    server: Server | None = None
    metrics: Metrics = field(default_factory=Metrics)
    log: list[Mapping[str, Any]] = field(default_factory=list)
    loop: asyncio.AbstractEventLoop | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self.url.split("//")[1].rsplit(":", 1)
        return host, int(port)

    def connect(self) -> socket.socket:
        """A raw connection."""
        return socket.create_connection(self.address, timeout=20)

    def metric(self, name: str, **labels: str) -> float:
        """The value of one of the server's counters, 0 when there is none."""
        return self.metrics.registry.get_sample_value(f"edgewise_serve_{name}", labels) or 0.0


@contextmanager
def serving(
    *packages: Path | str, engine: Engine | None = None, cache: int = 1 << 30, **options: Any
) -> Iterator[Served]:
    """A server of these packages; options are those of offload.serve.server.Options."""
    found = Served()
    started, stop = threading.Event(), asyncio.Event()
    failed: list[BaseException] = []

    async def main() -> None:
        found.loop = asyncio.get_running_loop()
        models = served.load([str(path) for path in packages])
        made = engine or TailCache(cache, found.metrics.loaded)
        found.server = Server(models, made, found.metrics, Options(port=0, **options), found.log.append)
        found.url = await found.server.start()
        started.set()
        await stop.wait()
        await found.server.drain()

    def work() -> None:
        try:
            run(main())
        except BaseException as error:  # noqa: BLE001 - the test's own thread raises it again
            failed.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait(60)
    try:
        if failed:
            raise failed[0]
        yield found
    finally:
        if not failed:
            found.loop.call_soon_threadsafe(stop.set)
        thread.join(60)
    if failed:
        raise failed[0]


def ask(url: str, model: str, feeds: Mapping[str, np.ndarray], wanted: Sequence[str], **more: Any) -> Answer:
    """What a device's wire gets from a server."""
    wire = Wire(Endpoint(url, more.pop("token", None), more.pop("ca_file", None)))
    try:
        tensors = [plain(name, array) for name, array in feeds.items()]
        return wire.infer(model, tensors, wanted, more.pop("deadline_s", 30.0), **more)
    finally:
        wire.close()


def exchange(served_one: Served, data: bytes, more: bytes = b"") -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the answer to raw bytes."""
    with served_one.connect() as peer:
        peer.sendall(data)
        if more:
            peer.sendall(more)
        return read_answer(peer)


def read_answer(peer: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        part = peer.recv(65536)
        if not part:
            raise ConnectionError(f"closed after {data!r}")
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    while len(body) < int(headers["content-length"]):
        body += peer.recv(65536)
    return int(first.split()[1]), headers, body


def post(path: str, body: bytes, *headers: str) -> bytes:
    """The bytes of a POST."""
    lines = [f"POST {path} HTTP/1.1", "Host: test", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def get(path: str, *headers: str) -> bytes:
    """The bytes of a GET."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: test", *headers]).encode() + b"\r\n\r\n"


def error_of(body: bytes) -> str:
    """The words of a refusal."""
    document = json.loads(body)
    assert set(document) == {"error"}
    return document["error"]

"""The server's life: it listens, answers, and ends without losing what it has begun."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import ssl
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mobile.errors import ConfigError, EdgewiseError, UsageError
from offload.serve.app import App, Limits
from offload.serve.connection import Connection, Patience
from offload.serve.metrics import Metrics
from offload.serve.models import Model
from offload.serve.tails import Engine

if TYPE_CHECKING:
    from offload.serve.grpc_server import GrpcServer

DEFAULT_PORT = 8620
WATCH_S = 0.5
BACKLOG = 512
T = TypeVar("T")


@dataclass(frozen=True)
class Options:
    """How to serve. ``token``, ``cert``, ``key``, ``grpc_port``: None for none. ``drain_s``: how long the end waits for
    answers.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    token: str | None = None
    cert: Path | None = None
    key: Path | None = None
    limits: Limits = field(default_factory=Limits)
    patience: Patience = field(default_factory=Patience)
    drain_s: float = 30.0
    grpc_port: int | None = None

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return self.host in ("localhost", "::1") or self.host.startswith("127.")


class Server:
    """A server on the running event loop: ``start``, ``url``, ``drain``."""

    def __init__(
        self,
        models: Mapping[str, Model],
        engine: Engine,
        metrics: Metrics,
        options: Options,
        log: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self._options = options
        self._loop = asyncio.get_running_loop()
        later = self._loop.call_soon_threadsafe
        self.app = App(models, engine, metrics, options.limits, options.token, later, log)
        self._connections: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._grpc: GrpcServer | None = None

    async def start(self) -> str:
        """The address that clients use, once it listens there. EdgewiseError when it cannot."""
        options = self._options
        context = _tls(options)
        try:
            self._listener = await self._loop.create_server(
                lambda: Connection(self.app, options.patience, self._connections),
                options.host,
                options.port,
                ssl=context,
                backlog=BACKLOG,
            )
        except (OSError, OverflowError) as error:
            words = getattr(error, "strerror", None) or str(error)
            raise EdgewiseError(
                f"cannot listen on {options.host} port {options.port}: {words.lower()}",
                "`--port` takes another port, 0 any free one; `--host` another address.",
            ) from error
        if options.grpc_port is not None:
            self._grpc = self._with_grpc(options, options.grpc_port)
        self._watcher = asyncio.create_task(self._watch())
        return self._url("http", self._listener.sockets[0].getsockname()[1])

    @property
    def grpc_url(self) -> str | None:
        """The address of gRPC, None without it."""
        return self._url("grpc", self._grpc.port) if self._grpc is not None else None

    def _with_grpc(self, options: Options, port: int) -> GrpcServer:
        from offload.serve.grpc_server import GrpcServer

        made = GrpcServer(self.app, options, port, self._loop.call_soon_threadsafe)
        made.start()
        return made

    def _url(self, scheme: str, port: int) -> str:
        host = f"[{self._options.host}]" if ":" in self._options.host else self._options.host
        return f"{scheme}{'s' if self._options.cert else ''}://{host}:{port}"

    async def drain(self) -> None:
        """Nothing; no one new is let in, what was begun is answered within ``drain_s``, then all is closed."""
        self.app.draining = True
        if self._listener is not None:
            self._listener.close()
        end = time.monotonic() + self._options.drain_s
        grpc = None if self._grpc is None else self._loop.run_in_executor(None, self._grpc.stop, self._options.drain_s)
        while self._connections and time.monotonic() < end:
            self._look_after()
            await asyncio.sleep(0.02)
        if grpc is not None:
            await grpc
        for connection in list(self._connections):
            connection.abort()
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        await self._loop.run_in_executor(None, self.app.close)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            self._look_after()

    def _look_after(self) -> None:
        now = time.monotonic()
        for connection in list(self._connections):
            connection.watch(now)


def _tls(options: Options) -> ssl.SSLContext | None:
    if options.cert is None and options.key is None:
        return None
    if options.cert is None or options.key is None:
        raise UsageError("--cert and --key belong together")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(options.cert, options.key)
    except (OSError, ValueError) as error:
        words = getattr(error, "reason", None) or getattr(error, "strerror", None) or "not a certificate and its key"
        raise ConfigError(f"{options.cert}, {options.key}: {words}") from error
    return context


async def serve(
    models: Mapping[str, Model],
    engine: Engine,
    metrics: Metrics,
    options: Options,
    ready: Callable[[str], None],
    log: Callable[[Mapping[str, Any]], None] | None = None,
) -> int:
    """The signal that ended the server: SIGTERM or SIGINT. ``ready`` is called with the address when it listens.

    A second signal while it drains ends it at once.
    """
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    caught: list[int] = []

    def end(number: int) -> None:
        caught.append(number)
        ended.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    server = Server(models, engine, metrics, options, log)
    ready(await server.start())
    gc.collect()
    gc.freeze()  # what is there now stays: no request has to wait until it has been looked through
    if server.grpc_url is not None:
        ready(server.grpc_url)
    await ended.wait()
    ended.clear()
    draining, again = asyncio.create_task(server.drain()), asyncio.create_task(ended.wait())
    await asyncio.wait((draining, again), return_when=asyncio.FIRST_COMPLETED)
    again.cancel()
    if not draining.done():
        draining.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await draining
    return caught[0]


def run(main: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns, on uvloop where it is installed: its sockets and wake-ups cost less."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    loop = uvloop.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())  # its threads end here, not some time later
        asyncio.set_event_loop(None)
        loop.close()

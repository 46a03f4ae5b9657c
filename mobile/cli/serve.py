"""`edgewise serve`: the server's parts of split packages, over the Open Inference Protocol."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from mobile.errors import UsageError

if TYPE_CHECKING:
    from offload.serve.metrics import Metrics
    from offload.serve.models import Model
    from offload.serve.server import Options
    from offload.serve.tails import Engine

UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
SHOWN = 8  # models that are named when it starts
LOG_LINES = 10_000  # that wait to be written; beyond that they are dropped rather than the server held up


def size(ctx: click.Context, param: click.Parameter, value: str) -> int:
    """Bytes of "64MiB", "10MB", "4096"."""
    found = re.fullmatch(r"(\d{1,12})\s*([kmg]i?)?b?", value.strip().lower())
    if found is None or int(found[1]) < 1:
        raise click.BadParameter(f"{value!r} is not a size such as 64MiB")
    return int(found[1]) * UNITS[found[2] or ""]


@click.command("serve", short_help="Serve the server's parts of split packages.")
@click.argument(
    "packages", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False), metavar="PACKAGE..."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8620, show_default=True, help="0 takes a free one.")
@click.option("--grpc", type=click.IntRange(0, 65535), help="Port for gRPC, beside HTTP.", metavar="PORT")
@click.option("--token-env", metavar="NAME", help="Environment variable that has the token clients must send.")
@click.option("--cert", type=click.Path(dir_okay=False), help="Certificate for https, with --key.")
@click.option("--key", type=click.Path(dir_okay=False), help="Its private key.")
@click.option(
    "--engine",
    type=click.Choice(["builtin", "ray", "triton"]),
    default="builtin",
    show_default=True,
    help="What computes: this process, Ray Serve, or a tritonserver.",
)
@click.option(
    "--max-batch", type=click.IntRange(1, 1024), default=8, show_default=True, help="Requests that run as one."
)
@click.option("--queue", type=click.IntRange(1, 65536), default=64, show_default=True, help="Requests in the server.")
@click.option("--max-body", default="64MiB", callback=size, show_default=True, help="Largest request.", metavar="SIZE")
@click.option(
    "--cache", default="2GiB", callback=size, show_default=True, help="Model files in memory.", metavar="SIZE"
)
@click.option("--json-log", is_flag=True, help="One JSON line on stderr for each request.")
def command(packages: tuple[str, ...], engine: str, json_log: bool, cache: int, **asked: Any) -> int:
    """Serve the server's parts of split packages.

    Speaks the Open Inference Protocol, version 2, with binary tensors. The address is printed on stdout once it
    listens. Ctrl-C and SIGTERM end it when what was begun has been answered.
    """
    from offload.serve import models as served
    from offload.serve import server
    from offload.serve.metrics import Metrics

    options = _options(asked)
    models = served.load(packages)
    for line in _warnings(options):
        click.echo(f"edgewise: {line}", err=True)
    log = _JsonLog() if json_log else None

    def ready(url: str) -> None:
        click.echo(url)
        if url.startswith("grpc"):
            return
        if log is not None:
            log.write({"event": "listening", "url": url, "models": sorted(models)})
        else:
            more = ", ..." if len(models) > SHOWN else ""
            click.echo(f"{len(models)} models: {', '.join(sorted(models)[:SHOWN])}{more}", err=True)

    try:
        if engine == "triton":
            caught = _triton(models, options, ready)
        else:
            metrics = Metrics()
            made = _engine(engine, cache, metrics)
            caught = server.run(server.serve(models, made, metrics, options, ready, log.write if log else None))
    finally:
        if log is not None:
            log.close()
    return 130 if caught == signal.SIGINT else 0


def _options(asked: Mapping[str, Any]) -> Options:
    from offload.serve.app import Limits
    from offload.serve.server import Options

    token = None
    if asked["token_env"]:
        token = os.environ.get(asked["token_env"])
        if not token:
            raise UsageError(f"the environment has no {asked['token_env']}", "Export the token under that name.")
    most: int = asked["max_body"]
    return Options(
        host=asked["host"],
        port=asked["port"],
        token=token,
        cert=Path(asked["cert"]) if asked["cert"] else None,
        key=Path(asked["key"]) if asked["key"] else None,
        grpc_port=asked["grpc"],
        limits=Limits(max_body=most, queue=asked["queue"], max_batch=asked["max_batch"], bodies=4 * most),
    )


def _triton(models: Mapping[str, Model], options: Options, ready: Callable[[str], None]) -> int:
    import tempfile

    from offload.serve import triton_repository

    with tempfile.TemporaryDirectory(prefix="edgewise-triton-") as name:
        for model in triton_repository.write(Path(name) / "models", models):
            click.echo(f"edgewise: warning: {model} takes its inputs uncoded from a tritonserver", err=True)
        return triton_repository.run(Path(name) / "models", options, ready)


def _warnings(options: Options) -> list[str]:
    if options.loopback:
        return []
    lacks = [words for words, there in (("no token", options.token), ("no TLS", options.cert)) if not there]
    return [f"warning: {options.host} can be reached by others, and there is {' and '.join(lacks)}"] if lacks else []


def _engine(name: str, cache_bytes: int, metrics: Metrics) -> Engine:
    if name == "ray":
        from offload.serve.ray_engine import RayTails

        return RayTails(cache_bytes)
    from offload.serve.tails import TailCache

    return TailCache(cache_bytes, metrics.loaded)


class _JsonLog:
    """Writes lines from a thread of its own, so that a full pipe holds up no request."""

    def __init__(self) -> None:
        self._lines: queue.Queue[str | None] = queue.Queue(LOG_LINES)
        self._writer = threading.Thread(target=self._work, name="edgewise-log", daemon=True)
        self._writer.start()

    def write(self, content: Mapping[str, Any]) -> None:
        """Nothing; the line is written soon, or dropped when ten thousand wait."""
        line = json.dumps({"time_s": round(time.time(), 6), **content})
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            return

    def close(self) -> None:
        """Nothing; what waits is written."""
        try:
            self._lines.put(None, timeout=1.0)
        except queue.Full:
            return
        self._writer.join(2.0)

    def _work(self) -> None:
        while (line := self._lines.get()) is not None:
            click.echo(line, err=True)

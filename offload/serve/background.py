"""A server in a thread of this process, for as long as it is wanted: it cannot outlive the process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

from offload.serve import models as served
from offload.serve.metrics import Metrics
from offload.serve.server import Options, Server, run
from offload.serve.tails import TailCache

CACHE_BYTES = 1 << 30
GRACE_S = 5.0  # beyond the draining, for closing what computes


@contextmanager
def serving(packages: Sequence[Path | str], options: Options) -> Iterator[str]:
    """The address at which the packages are served until the block is left, however it is left.

    EdgewiseError when a package is not in order, the extra `split` is missing, or nothing can listen there.
    """
    models, metrics = served.load([str(path) for path in packages]), Metrics()
    ready: Future[str] = Future()
    stop: Future[None] = Future()

    async def main() -> None:
        server = Server(models, TailCache(CACHE_BYTES, metrics.loaded), metrics, options)
        try:
            ready.set_result(await server.start())
            await asyncio.wrap_future(stop)
        finally:
            await server.drain()

    def work() -> None:
        try:
            run(main())
        except Exception as error:  # the thread's outermost edge: whoever waits for the address must hear of it
            if ready.done():
                raise
            ready.set_exception(error)

    thread = Thread(target=work, name="edgewise-serve", daemon=True)
    thread.start()
    try:
        yield ready.result()
    finally:
        stop.set_result(None)
        thread.join(options.drain_s + GRACE_S)

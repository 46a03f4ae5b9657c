"""A few threads that take calls from a queue: what concurrent.futures has, without the future, which costs more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

Call = tuple[Callable[..., object], tuple[Any, ...]]


class Threads:
    """Runs calls that answer for themselves: what they raise would be lost, so they must not raise."""

    def __init__(self, count: int, name: str) -> None:
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{i}", daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, call: Callable[..., object], *arguments: Any) -> None:
        """Nothing; the call is made soon."""
        self._calls.put((call, arguments))

    def close(self, within_s: float) -> None:
        """Nothing; what is queued is done first, for at most so long."""
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join(within_s / len(self._threads))

    def _work(self) -> None:
        while (item := self._calls.get()) is not None:
            call, arguments = item
            call(*arguments)
            del item, call, arguments  # a waiting thread must not keep a request's body alive

"""What an iterator yields, made ahead of time in a thread: the link is not idle while the next piece is compressed."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
_TICK_S = 0.2


class Ahead(Generic[T]):
    """An iterator up to ``depth`` items ahead of its reader. Use as a context manager: the thread ends with it."""

    def __init__(self, source: Iterator[T], depth: int) -> None:
        self._source = source
        self._made: queue.Queue[T] = queue.Queue(depth)
        self._stop = threading.Event()
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._make, name="ahead", daemon=True)

    def __enter__(self) -> Ahead[T]:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        """The items; what the source raises comes after those before it."""
        while True:
            over = self._over.is_set()
            try:
                yield self._made.get(block=not over, timeout=None if over else _TICK_S)
            except queue.Empty:
                if over:
                    break
        if self._error is not None:
            raise self._error

    def _make(self) -> None:
        try:
            for item in self._source:
                if not self._put(item):
                    break
        except BaseException as error:  # noqa: BLE001 - handed over to the reader's thread
            self._error = error
        finally:
            self._over.set()

    def _put(self, item: T) -> bool:
        """False when nobody reads any more."""
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                self._made.put(item, timeout=_TICK_S)
                return True
        return False

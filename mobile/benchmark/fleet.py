"""Devices side by side: a thread for each, what they tell comes out one by one, in the caller's thread."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from mobile.benchmark.follow import Interrupted

T = TypeVar("T")
AT_ONCE = 32
DRAIN_S = 60.0  # for devices to stop what they do, after an interrupt


class Line(Generic[T]):
    """What one device's thread has: a way to tell, and a word when to stop."""

    def __init__(self, tell: Callable[[T], None], stopping: threading.Event) -> None:
        self.tell = tell
        self.stopping = stopping

    def check(self) -> None:
        """Nothing, or Interrupted when everything is to stop."""
        if self.stopping.is_set():
            raise Interrupted


@dataclass(frozen=True)
class _End:
    error: BaseException | None


def side_by_side(work: Mapping[str, Callable[[Line[T]], None]]) -> Generator[T, None, None]:
    """What the devices tell, as it comes. ``work`` is what is to be done on each, by name.

    An exception of one ends all (a device's own trouble is something to tell, not to raise). When the caller stops,
    by Ctrl-C or by closing the iterator, every device stops what it does and leaves nothing behind; that is waited for.
    """
    told: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
    stopping = threading.Event()
    places = threading.Semaphore(AT_ONCE)

    def drive(do: Callable[[Line[T]], None]) -> None:
        error: BaseException | None = None
        try:
            with places:
                line = Line[T](told.put, stopping)
                line.check()
                do(line)
        except Interrupted:
            pass
        except BaseException as raised:  # noqa: BLE001 - handed over to the caller's thread
            error = raised
        told.put(_End(error))

    threads = [
        threading.Thread(target=drive, args=(do,), name=f"device-{name}", daemon=True) for name, do in work.items()
    ]
    running = len(threads)
    try:
        for thread in threads:
            thread.start()
        while running:
            item = told.get()
            if isinstance(item, _End):
                running -= 1
                if item.error is not None:
                    raise item.error
            else:
                yield item
    finally:
        stopping.set()
        for thread in threads:
            with contextlib.suppress(RuntimeError):  # one that was never started
                thread.join(DRAIN_S)

"""An engine for tests that computes when it is told to, and counts."""

from __future__ import annotations

import threading
import time
from typing import Any

from offload.serve.models import Model


class Gate:
    """Gives back its inputs, behind a gate. ``rows``: how many rows each run had."""

    lanes = 1

    def __init__(self, closed: bool = True, error: Exception | None = None, batches: bool = False) -> None:
        self._open = threading.Event()
        self._error, self._batches = error, batches
        self.runs = 0
        self.rows: list[int] = []
        if not closed:
            self._open.set()

    def run(self, model: Model, feeds: Any) -> tuple[list[Any], int]:
        """The inputs."""
        self.runs += 1
        self.rows.append(len(next(iter(feeds.values()))))
        assert self._open.wait(60)
        if self._error is not None:
            raise self._error
        return [next(iter(feeds.values())).copy()], 0

    def batches(self, model: Model, feeds: Any) -> bool:
        """As was said."""
        return self._batches

    def at_hand(self, model: Model) -> bool:
        """No: it must not hold up the event loop."""
        return False

    def close(self) -> None:
        """Nothing."""

    def open(self) -> None:
        """Lets all runs go on."""
        self._open.set()

    def wait_for(self, runs: int) -> None:
        """Returns when so many runs have begun."""
        end = time.monotonic() + 60
        while self.runs < runs and time.monotonic() < end:
            time.sleep(0.005)
        assert self.runs >= runs

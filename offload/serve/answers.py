"""Recent answers by the id of their request: one that is sent again is not computed again."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice

from offload.serve.messages import Answer

Key = tuple[object, ...]
AT_A_TIME = 8  # looked at for each request: more leave than come

Give = Callable[[Answer], None]


@dataclass
class _Entry:
    answer: Answer | None = None
    waiting: list[Give] = field(default_factory=list)
    born: float = 0.0


class Answers:
    """A bounded memory of answers. Thread-safe.

    Only what went well is kept: whoever waited for a request that failed is told so, and the next one is computed.
    """

    def __init__(self, most: int = 1024, limit_bytes: int = 64 << 20, keep_s: float = 60.0) -> None:
        self._most, self._limit_bytes, self._keep_s = most, limit_bytes, keep_s
        self._lock = threading.Lock()
        self._known: OrderedDict[Key, _Entry] = OrderedDict()
        self._bytes = 0

    def claim(self, key: Key, give: Give) -> bool:
        """Whether the caller must compute the answer; else ``give`` is called with it, now or when it is there."""
        with self._lock:
            self._forget()
            entry = self._known.get(key)
            if entry is None:
                self._known[key] = _Entry(born=time.monotonic())
                return True
            if entry.answer is None:
                entry.waiting.append(give)
                return False
            answer = entry.answer
        give(answer)
        return False

    def settle(self, key: Key, answer: Answer) -> None:
        """The answer is known: kept when it is a good one, and given to all that wait for it."""
        with self._lock:
            entry = self._known.pop(key, None)
            if entry is None:
                return
            waiting, entry.waiting = entry.waiting, []
            if answer.status == 200 and answer.size_bytes <= self._limit_bytes:
                entry.answer, entry.born = answer, time.monotonic()
                self._known[key] = entry
                self._bytes += answer.size_bytes
                self._forget()
        for give in waiting:
            give(answer)

    def __len__(self) -> int:
        """How many answers are kept or being computed."""
        return len(self._known)

    def _forget(self) -> None:
        """Lets go what is too old or too much; what is being computed stays."""
        oldest = time.monotonic() - self._keep_s
        for key, entry in list(islice(self._known.items(), AT_A_TIME)):
            full = len(self._known) > self._most or self._bytes > self._limit_bytes
            if not full and entry.born >= oldest:
                break
            if entry.answer is not None:
                self._bytes -= entry.answer.size_bytes
                del self._known[key]

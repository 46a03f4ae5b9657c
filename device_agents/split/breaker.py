"""A circuit breaker: a server that fails is left alone for a while, then asked once before it is trusted again."""

from typing import Optional

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half-open"


class Breaker:
    """Opens after ``failures`` in a row, for ``pause_s`` seconds at first and twice as long each time up to ``most_s``.

    Every method takes the time of now, in seconds of a clock that only goes forward, so that a simulation can have
    its own.
    """

    def __init__(self, failures: int = 3, pause_s: float = 0.5, most_s: float = 4.0) -> None:
        self._limit = failures
        self._first_pause_s = pause_s
        self._most_s = most_s
        self._failed = 0
        self._pause_s = pause_s
        self._until_s: Optional[float] = None
        self._asking = False

    def state(self, now_s: float) -> str:
        """ "closed": ask; "open": do not; "half-open": one may ask."""
        if self._until_s is None:
            return CLOSED
        return OPEN if now_s < self._until_s else HALF_OPEN

    def allows(self, now_s: float) -> bool:
        """Whether to ask the server now. When half-open only the first that is told so, until it reports."""
        state = self.state(now_s)
        if state == HALF_OPEN and not self._asking:
            self._asking = True
            return True
        return state == CLOSED

    def succeeded(self) -> None:
        """Nothing; the server answered in time."""
        self._failed, self._until_s, self._asking, self._pause_s = 0, None, False, self._first_pause_s

    def reached(self) -> None:
        """Nothing; something else than a request was answered: one may try. If it fails the pause is twice as long."""
        if self._until_s is not None:
            self._failed, self._until_s, self._asking = self._limit - 1, None, False
            self._pause_s = min(self._pause_s * 2, self._most_s)

    def failed(self, now_s: float) -> None:
        """Nothing; it did not."""
        self._failed += 1
        if self._until_s is not None:  # it was given its one chance, or an older request ended late
            if self._asking:
                self._pause_s = min(self._pause_s * 2, self._most_s)
                self._until_s, self._asking = now_s + self._pause_s, False
        elif self._failed >= self._limit:
            self._until_s = now_s + self._pause_s

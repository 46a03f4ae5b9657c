"""One deadline passed down, instead of a timeout per call."""

from __future__ import annotations

import math
import time

from mobile.errors import DeadlineExceeded


class Deadline:
    """A point in time by which something must be done.

    >>> Deadline(10.0).remaining_s() <= 10.0
    True
    >>> Deadline.never().remaining_s()
    inf
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @classmethod
    def never(cls) -> Deadline:
        """A deadline that does not come."""
        return cls(math.inf)

    def remaining_s(self) -> float:
        """Seconds left, 0.0 once it has passed."""
        return max(0.0, self._end - time.monotonic())

    def expired(self) -> bool:
        """True once it has passed."""
        return self.remaining_s() == 0.0

    def check(self, what: str) -> None:
        """Nothing, or DeadlineExceeded that names ``what`` was being done."""
        if self.expired():
            raise DeadlineExceeded(f"{what}: not done within {self.seconds:g} s")

    def sooner(self, seconds: float) -> Deadline:
        """The earlier of this deadline and one ``seconds`` from now."""
        return Deadline(min(seconds, self.remaining_s()))

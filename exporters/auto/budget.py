"""What an artifact may cost: "size<=4MB,drop<=0.5%", and what can be said of one from so many items."""

from __future__ import annotations

import re
from dataclasses import dataclass

from mobile.errors import UsageError
from mobile.results.accuracy import PairedDifference

WITHIN, OVER, UNDECIDED = "within", "over", "undecided"
_UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_SIZE = re.compile(r"size\s*<=\s*(\d+(?:\.\d+)?)\s*([kmg]?i?b?)", re.IGNORECASE)
_DROP = re.compile(r"drop\s*<=\s*(\d+(?:\.\d+)?)\s*(%?)", re.IGNORECASE)


@dataclass(frozen=True)
class Budget:
    """The most bytes of the artifact, and the largest drop of accuracy as a share (0 to 1); None: any."""

    size_bytes: int | None = None
    drop: float | None = None

    def judge(self, size_bytes: int, difference: PairedDifference) -> str:
        """ "within", "over" or "undecided" for an artifact of that size.

        ``difference`` is the accuracy of the source minus the artifact's. Within means that the upper end of its
        interval is; over that the lower end is not, or that the size is not.
        """
        if self.size_bytes is not None and size_bytes > self.size_bytes:
            return OVER
        if self.drop is None or difference.high <= self.drop:
            return WITHIN
        return OVER if difference.low > self.drop else UNDECIDED

    def said(self) -> str:
        """The budget in words."""
        size = [] if self.size_bytes is None else [f"at most {self.size_bytes:,} bytes"]
        drop = [] if self.drop is None else [f"a drop of at most {self.drop:.3g}"]
        return " and ".join(size + drop) or "none"


def parse_budget(text: str) -> Budget:
    """The budget of "size<=4MB,drop<=0.5%", in either order, either alone. MB are 10**6 bytes. UsageError else.

    >>> parse_budget("size<=4MB,drop<=0.5%")
    Budget(size_bytes=4000000, drop=0.005)
    """
    size: int | None = None
    drop: float | None = None
    for part in text.split(","):
        found_size, found_drop = _SIZE.fullmatch(part.strip()), _DROP.fullmatch(part.strip())
        if found_size is not None and size is None and found_size[2].lower() in _UNITS:
            size = int(float(found_size[1]) * _UNITS[found_size[2].lower()])
        elif found_drop is not None and drop is None:
            drop = float(found_drop[1]) / (100 if found_drop[2] else 1)
        else:
            raise UsageError(f"budget {text!r}: {part!r} is not understood", "Write it like size<=4MB,drop<=0.5%.")
    if drop is not None and drop > 1:
        raise UsageError(f"budget {text!r}: a drop of more than all", "Write half a percent as 0.5%.")
    return Budget(size, drop)

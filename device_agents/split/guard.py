"""Keeps a policy that adapts from doing worse than the best placement kept fixed would have done.

What adapting loses is lost on the changes: on frames that find the link or the server other than it was believed. Where
that is more than it gains, keeping to one placement is better, and the guard says so until the loss is made up for.
That is the idea of conservative exploration (Wu, Shariff, Lattimore, Szepesvari, Conservative bandits, ICML 2016), with
every fixed placement as a baseline.
"""

import math
from typing import Dict, Optional

from device_agents.split.table import SPLIT, Conditions, Placement, Table

SHARE = 0.015  # so much may be lost to the best fixed placement
FRAMES = 2.0  # and its latency of so many frames, so that one mistake at the beginning does not count
MEMORY = 1000.0  # frames after which an older one counts a third
MOST = 32  # placements that are kept account of


class Guard:
    """The latencies of the frames as they were, and as they would have been in each fixed placement.

    ``most_s``: no frame takes longer, since the device does the rest then. The latency of a placement that was not
    taken is the table's under the conditions that were known right after the frame.
    """

    def __init__(self, table: Table, most_s: float = math.inf) -> None:
        rows = table.placements
        kept = [row for row in rows.values() if len(rows) <= MOST or row.label != SPLIT]
        self._rows = kept[:MOST]
        self._sums: Dict[str, float] = {row.id: 0.0 for row in self._rows}
        self._own_s, self._count, self._most_s = 0.0, 0.0, most_s

    def take(self, placement: Placement, latency_s: float, after: Conditions) -> None:
        """Nothing, once a frame is in the account: it took so long in ``placement``."""
        keep = 1.0 - 1.0 / MEMORY
        for row in self._rows:
            told_s = latency_s if row.id == placement.id else min(row.latency_s(after), self._most_s)
            self._sums[row.id] = self._sums[row.id] * keep + told_s
        self._own_s, self._count = self._own_s * keep + latency_s, self._count * keep + 1.0

    def better(self) -> Optional[Placement]:
        """The fixed placement to which too much was lost; None while that is not so."""
        if not self._count:
            return None
        best = min(self._rows, key=lambda row: self._sums[row.id])
        allowed = 1.0 + SHARE + FRAMES / self._count
        return best if self._own_s > self._sums[best.id] * allowed else None


def longest_s(table: Table, deadline_s: Optional[float]) -> float:
    """Seconds after which a frame is done at the latest, by the deadline or by the device; infinite without both."""
    local = table.local
    if deadline_s is None:
        return math.inf
    return deadline_s if local is None else deadline_s + local.device_s

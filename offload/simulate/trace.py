"""What a link carries over time, and other quantities that change with time. Exact: nothing is sampled."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

PACKET_BITS = 1500 * 8  # of a delivery opportunity in Mahimahi's format

Value = TypeVar("Value")


class TraceError(ValueError):
    """A trace is damaged, empty or too long; the message names the line and the value."""


@dataclass(frozen=True)
class Trace:
    """Bits that a link could have carried since its begin, as a broken line that repeats every ``duration_s``.

    ``times_s`` and ``bits`` are its corners, from (0, 0) to (duration_s, all); both rise. Two corners at one time are
    bits that pass at once.
    """

    times_s: tuple[float, ...]
    bits: tuple[float, ...]

    @property
    def duration_s(self) -> float:
        """Seconds after which it repeats."""
        return self.times_s[-1]

    @property
    def mean_bps(self) -> float:
        """Bits per second over its whole length."""
        return self.bits[-1] / self.times_s[-1]

    def carried(self, until_s: float) -> float:
        """Bits that could have passed from 0 to ``until_s``, that moment included."""
        turns, rest_s = divmod(until_s, self.duration_s)
        at = bisect_right(self.times_s, rest_s) - 1
        if at + 1 == len(self.times_s):
            return (turns + 1) * self.bits[-1]
        t0, t1, b0, b1 = self.times_s[at], self.times_s[at + 1], self.bits[at], self.bits[at + 1]
        return turns * self.bits[-1] + b0 + (b1 - b0) * (rest_s - t0) / (t1 - t0)

    def sent_at(self, start_s: float, bits: float) -> float:
        """The moment at which the last of ``bits`` has passed when the first may go after ``start_s``.

        What passes at ``start_s`` itself is gone. Infinite on a link that carries nothing.
        """
        if bits <= 0:
            return start_s
        if self.bits[-1] <= 0:
            return math.inf
        target = self.carried(start_s) + bits
        turns = math.ceil(target / self.bits[-1]) - 1
        rest = min(target - turns * self.bits[-1], self.bits[-1])
        at = max(bisect_left(self.bits, rest), 1)
        t0, t1, b0, b1 = self.times_s[at - 1], self.times_s[at], self.bits[at - 1], self.bits[at]
        share = (rest - b0) / (b1 - b0) if b1 > b0 else 0.0
        return max(turns * self.duration_s + t0 + (t1 - t0) * share, start_s)

    def scaled(self, factor: float) -> Trace:
        """The same with every bandwidth times ``factor``."""
        return Trace(self.times_s, tuple(bits * factor for bits in self.bits))


def from_rates(times_s: Sequence[float], rates_bps: Sequence[float]) -> Trace:
    """The trace of rates that hold from each time to the next; ``times_s`` has one more entry: the end.

    TraceError when times do not rise from 0 or a rate is none.
    """
    if len(times_s) != len(rates_bps) + 1 or len(rates_bps) < 1 or times_s[0] != 0:
        raise TraceError("a trace has rates from time 0 on, and an end")
    corners, total = [0.0], 0.0
    for at, rate in enumerate(rates_bps):
        if not times_s[at] < times_s[at + 1] < math.inf or not 0 <= rate < math.inf:
            raise TraceError(
                f"from {times_s[at]} s to {times_s[at + 1]} s: times must rise, and {rate} bit/s is the rate"
            )
        total += rate * (times_s[at + 1] - times_s[at])
        corners.append(total)
    return Trace(tuple(times_s), tuple(corners))


def from_opportunities(times_ms: Sequence[int], packet_bits: int = PACKET_BITS) -> Trace:
    """The trace of packet deliveries as Mahimahi defines it: at each of the times one packet passes; the last time is
    also the length after which it starts anew. TraceError when they fall, or all are at 0.
    """
    if not times_ms or times_ms[-1] <= 0:
        raise TraceError("the last delivery must be after 0 ms: it is the length of the trace")
    times, bits, total = [0.0], [0.0], 0.0
    for before, now in zip((0, *times_ms), times_ms, strict=False):
        if now < before:
            raise TraceError(f"a delivery at {now} ms comes after one at {before} ms")
        if now > before:
            times.append(now / 1000)
            bits.append(total)
        total += packet_bits
        if times[-1] == now / 1000 and len(times) > 1 and times[-2] == times[-1]:
            bits[-1] = total
        else:
            times.append(now / 1000)
            bits.append(total)
    return Trace(tuple(times), tuple(bits))


@dataclass(frozen=True)
class Steps(Generic[Value]):
    """A value that changes at some times: ``values[i]`` from ``times_s[i]`` on. The first time is 0."""

    values: tuple[Value, ...]
    times_s: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.times_s, self.times_s[1:], strict=False))
        if len(self.values) != len(self.times_s) or not self.values or self.times_s[0] != 0 or not rising:
            raise TraceError("steps need as many values as times, and times that rise from 0")

    def at(self, when_s: float) -> Value:
        """The value at a time."""
        return self.values[max(bisect_right(self.times_s, when_s) - 1, 0)]

    def first(self, start_s: float, end_s: float, other_than: Value) -> tuple[float, Value] | None:
        """(time, value) of the first moment from ``start_s`` to ``end_s`` with another value; None for none."""
        if self.at(start_s) != other_than:
            return start_s, self.at(start_s)
        at = bisect_right(self.times_s, start_s)
        while at < len(self.times_s) and self.times_s[at] <= end_s:
            if self.values[at] != other_than:
                return self.times_s[at], self.values[at]
            at += 1
        return None

"""What really happened on a board: a log of rows, and the questions that a test asks of it.

A row holds the time (CLOCK_MONOTONIC, ns: the clock that the agent stamps with), the watts of each part from that time
to the next row's, the temperature and what the board was suffering from. Integrals over it are exact: power is constant
between rows.
"""

from __future__ import annotations

import json
import struct
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from tests.lab.physics.law import FAULTS


class TruthLog:
    """Writes the log: one line of JSON with the names of the parts, then rows of numbers."""

    def __init__(self, path: Path, parts: Sequence[str], about: dict[str, object]) -> None:
        self._row = struct.Struct(f"<qdi{len(parts)}d")
        self._file: BinaryIO = path.open("wb")
        header = json.dumps({"parts": list(parts), **about}).encode()
        self._file.write(header + b"\n")
        self._file.flush()

    def add(self, t_ns: int, temperature_c: float, ailing: int, watts: Sequence[float]) -> None:
        """Nothing; a row is in the log. ``ailing``: a bit for each of FAULTS, and the next one for a trip by heat."""
        self._file.write(self._row.pack(t_ns, temperature_c, ailing, *watts))

    def flush(self) -> None:
        """Nothing; what was added can be read."""
        self._file.flush()

    def close(self) -> None:
        """Nothing; the log is whole."""
        self._file.close()


class Truth:
    """The log of one board, to be asked."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.about = json.loads(file.readline())
            self.parts: list[str] = self.about["parts"]
            self.sums: dict[str, list[str]] = self.about.get("sums", {})
            row = struct.Struct(f"<qdi{len(self.parts)}d")
            data = file.read()
        rows = list(row.iter_unpack(data[: len(data) // row.size * row.size]))
        self.t_ns = [one[0] for one in rows]
        self.temperature_c = [one[1] for one in rows]
        self._ailing = [one[2] for one in rows]
        self.watts = {name: [one[3 + i] for one in rows] for i, name in enumerate(self.parts)}
        self._joules = {name: self._summed(values) for name, values in self.watts.items()}

    def energy_j(self, sensor: str, start_ns: int, end_ns: int) -> float:
        """The joules that went through what a sensor covers, between two times.

        ``sensor``: a name of the agent's ("power.VDD_IN"), or several joined by " + ". ValueError outside the log.
        """
        names = [part for name in sensor.split(" + ") for part in self.sums.get(name, [name])]
        return sum(self._at(name, end_ns) - self._at(name, start_ns) for name in names)

    def peak_c(self, start_ns: int, end_ns: int) -> float:
        """The highest temperature between two times."""
        return max(t for t_ns, t in zip(self.t_ns, self.temperature_c, strict=True) if start_ns <= t_ns <= end_ns)

    def ailments(self, start_ns: int, end_ns: int) -> set[str]:
        """What the board suffered from at any time between two: of FAULTS, and "hot" for a trip of its own."""
        bits = 0
        for t_ns, one in zip(self.t_ns, self._ailing, strict=True):
            if start_ns <= t_ns <= end_ns:
                bits |= one
        return {name for i, name in enumerate((*FAULTS, "hot")) if bits >> i & 1}

    def longest_pause_s(self, start_ns: int, end_ns: int) -> float:
        """The longest time in which the physics stood still because the machine gave it no processor."""
        rows = [t for t in self.t_ns if start_ns - 100_000_000 <= t <= end_ns + 100_000_000]
        return max((right - left for left, right in pairwise(rows)), default=0) * 1e-9

    def _summed(self, watts: list[float]) -> list[float]:
        total, sums = 0.0, [0.0]
        for (left, right), value in zip(pairwise(self.t_ns), watts, strict=False):
            total += value * (right - left) * 1e-9
            sums.append(total)
        return sums

    def _at(self, name: str, t_ns: int) -> float:
        if name not in self.watts:
            raise ValueError(f"the truth knows no {name!r} (it knows: {', '.join(self.parts)})")
        if not self.t_ns or not self.t_ns[0] <= t_ns <= self.t_ns[-1]:
            raise ValueError(f"the truth was not kept at {t_ns} ns")
        row = min(bisect_right(self.t_ns, t_ns) - 1, len(self.t_ns) - 1)
        return self._joules[name][row] + self.watts[name][row] * (t_ns - self.t_ns[row]) * 1e-9

"""How long coding a value takes at one place: as measured there, else by a line over the value's size.

A codec's time grows with the numbers that it codes: seconds = start + bytes / speed, fitted to the sizes that were
measured, for each codec on its own (least squares with neither negative).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from offload.plan.costs import ASSUMED, MEASURED, PREDICTED

# Bytes of float32 a second, one core, for a place where nothing was measured: a slow board (a quarter of one x86 core).
ASSUMED_BYTES_PER_S = {
    "raw": 2.0e9,
    "fp16": 0.5e9,
    "q8": 0.3e9,
    "q4": 0.25e9,
    "q2": 0.25e9,
    "jpeg": 0.1e9,
    "webp": 0.01e9,
}
ASSUMED_ENTROPY_BYTES_PER_S = {"": float("inf"), "zlib": 0.08e9, "zstd": 0.25e9, "lz4": 0.5e9}


@dataclass(frozen=True)
class CodecTime:
    """One codec on one value at one place: seconds to encode and to decode it (medians), its plain and coded size."""

    value: str
    codec: str
    size_bytes: int
    encode_s: float
    decode_s: float
    coded_bytes: float

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> CodecTime:
        """The time of a JSON object. KeyError, TypeError or ValueError when it is none."""
        return cls(
            value=str(entry["value"]),
            codec=str(entry["codec"]),
            size_bytes=int(entry["size_bytes"]),
            encode_s=float(entry["encode_s"]),
            decode_s=float(entry["decode_s"]),
            coded_bytes=float(entry["coded_bytes"]),
        )


@dataclass(frozen=True)
class Coders:
    """What was measured at one place; empty when nothing was."""

    place: str
    times: tuple[CodecTime, ...] = ()

    def seconds(self, value: str, codec: str, size_bytes: int) -> tuple[float, float, str]:
        """(encoding, decoding, how): "measured" for this value, "predicted" by its size, or "assumed"."""
        for time in self.times:
            if (time.value, time.codec) == (value, codec):
                return time.encode_s, time.decode_s, MEASURED
        known = [time for time in self.times if time.codec == codec]
        if known:
            sizes = [float(time.size_bytes) for time in known]
            encode_s = _on_the_line(sizes, [time.encode_s for time in known], size_bytes)
            return encode_s, _on_the_line(sizes, [time.decode_s for time in known], size_bytes), PREDICTED
        assumed_s = size_bytes / _assumed_speed(codec)
        return assumed_s, assumed_s, ASSUMED


def _on_the_line(sizes: list[float], seconds: list[float], size: float) -> float:
    start_s, per_byte = nonnegative_line(sizes, seconds)
    return start_s + per_byte * size


def nonnegative_line(xs: Iterable[float], ys: Iterable[float]) -> tuple[float, float]:
    """(start, slope) of the least squares line through the points, neither below 0."""
    import numpy as np

    x, y = np.array(list(xs), dtype=float), np.array(list(ys), dtype=float)
    spread = float(((x - x.mean()) ** 2).sum())
    slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread if spread > 0 else 0.0
    start = float(y.mean()) - slope * float(x.mean())
    if slope < 0 or spread == 0:
        through = float((x * y).sum() / (x * x).sum()) if (x * x).sum() > 0 else 0.0
        return (float(y.mean()), 0.0) if slope < 0 else (0.0, through)
    if start < 0:
        return 0.0, float((x * y).sum() / (x * x).sum())
    return start, slope


def _assumed_speed(codec: str) -> float:
    from device_agents.split.codecs import parse

    parts = parse(codec)
    return 1.0 / (1.0 / ASSUMED_BYTES_PER_S[parts.base] + 1.0 / ASSUMED_ENTROPY_BYTES_PER_S[parts.entropy])

"""The frames of a split run, one by one: what was decided and why, what was predicted, and what became of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mobile.results.run import Run

# In the order in which they are shown; others come behind.
DECIDED = ("placement", "why", "predicted_s", "fallback", "refused", "bytes_up", "bytes_down")
NOTES = (*DECIDED, "uplink_bps", "downlink_bps", "rtt_s", "slow_down", "device_scale")
WHOLE = ("bytes_up", "bytes_down")
WORDS = {"placement": "placement_ids", "fallback": "fallback_kinds", "why": "reasons"}


def frames(run: Run, phase: str = "measure") -> Iterator[dict[str, Any]]:
    """One row for each frame of a phase; none for a run that is no split run.

    t_s (since the phase's first frame began), measured_s, predicted_s (None: it was refused), placement, why, fallback
    (None: it ran as it was decided), refused, bytes_up, bytes_down, and what was known when it was decided: uplink_bps,
    downlink_bps, rtt_s, slow_down, device_scale. In seconds, bytes and bits per second. A run that was cut has numbers
    in the place of words, since the words come at its end.
    """
    found = run.phase(phase)
    notes = found.notes
    if not notes:
        return
    words = told(run)
    for index, (start_ns, duration_ns) in enumerate(zip(found.start_ns, found.duration_ns, strict=True)):
        row: dict[str, Any] = {"t_s": (start_ns - found.start_ns[0]) / 1e9, "measured_s": duration_ns / 1e9}
        for name in (*(name for name in NOTES if name in notes), *(name for name in notes if name not in NOTES)):
            number = notes[name][index]
            row[name] = int(number) if name in WHOLE and number is not None else _worded(words, name, number)
        row["refused"] = bool(row.get("refused"))
        yield row


def told(run: Run) -> Mapping[str, Any]:
    """What the run's last record says of its frames as a whole; empty for a run that is no split run, or was cut."""
    found = ((run.done or {}).get("summary") or {}).get("split")
    return found if isinstance(found, dict) else {}


def _worded(words: Mapping[str, Any], name: str, number: float | None) -> Any:
    known = words.get(WORDS.get(name, ""))
    if number is None or not isinstance(known, list):
        return number
    return known[int(number)] if 0 <= number < len(known) else None

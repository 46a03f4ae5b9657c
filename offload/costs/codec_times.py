"""What coding takes on a device, of the values that cross at the measured cuts, as they really look."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobile.benchmark.agent import owner
from mobile.deadline import Deadline
from mobile.errors import AgentError
from offload.costs.coders import CodecTime
from offload.costs.subject import Subject, save_arrays

if TYPE_CHECKING:
    from mobile.benchmark.session import DeviceSession
    from offload.costs.profile import Cut

LIMIT_S = 60.0
MAX_VALUES = 64  # the smallest and the largest of them and those between, evenly
LARGEST_BYTES = 64 << 20


def codec_times(
    session: DeviceSession, subject: Subject, cuts: Sequence[Cut], codecs: Sequence[str], folder: Path
) -> tuple[list[CodecTime], list[str]]:
    """(times of each codec on each crossing value, what is to be said). AgentError when the agent cannot tell."""
    names = chosen(subject, cuts)
    if not names or not codecs:
        return [], []
    path = folder / "crossing.npz"
    save_arrays(path, subject.values, names)
    values = [_described(subject, name) for name in names]
    pushed = session.push_file(path, Deadline.never())
    order = {
        "files": [{"path": pushed, "values": values}],
        "codecs": list(codecs),
        "limit_s": LIMIT_S,
        "owner": owner(f"codecs {subject.name}"),
    }
    answer = session.agent.ask("codecs", deadline=Deadline(LIMIT_S + 60.0), stdin=json.dumps(order).encode("utf-8"))
    error = answer.get("error")
    if isinstance(error, dict):
        return [], [f"codecs were not timed: {error.get('message')}"]
    notes = [f"codec {name} is not there: {why}" for name, why in dict(answer.get("missing") or {}).items()]
    if answer.get("problem"):
        notes.append(f"codecs: {answer['problem']}")
    try:
        return [CodecTime.from_json(entry) for entry in answer["times"]], notes
    except (KeyError, TypeError, ValueError) as wrong:
        raise AgentError(f"{session.device.name}: the agent's times of codecs are damaged") from wrong


def chosen(subject: Subject, cuts: Iterable[Cut]) -> list[str]:
    """The model's inputs and what crosses at the cuts, at most MAX_VALUES of them over all sizes."""
    names = dict.fromkeys([*subject.graph.inputs, *(value for cut in cuts for value in cut.values)])
    known = [name for name in names if 0 < subject.observed[name].size_bytes <= LARGEST_BYTES]
    known.sort(key=lambda name: subject.observed[name].size_bytes)
    if len(known) <= MAX_VALUES:
        return known
    step = (len(known) - 1) / (MAX_VALUES - 1)
    return [known[round(index * step)] for index in range(MAX_VALUES)]


def _described(subject: Subject, name: str) -> dict[str, Any]:
    seen = subject.observed[name]
    is_float = seen.dtype.startswith("float")
    within = {"low": list(seen.low), "high": list(seen.high)} if is_float else None
    return {"name": name, "dtype": seen.dtype, "shape": list(seen.shape), "range": within}

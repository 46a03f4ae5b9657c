"""What each node takes, out of an onnxruntime profile: seconds by node, in the order in which they ran.

A profile is a file with one event a line (onnxruntime, core/common/profiler.cc): category "Node" and a name that ends
in "_kernel_time" for each kernel that ran, with its start and duration in microseconds; "model_run" of the category
"Session" ends an inference. The nodes of a Loop's or an If's body are events inside of the event of the Loop: they are
part of its time and are left out here.
"""

import json
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple

KERNEL = "_kernel_time"
MAX_NODES = 50_000
MAX_NAME = 400
MAX_EVENT_BYTES = 1 << 20  # longer lines are not events


class NodeTime(NamedTuple):
    """One node of the graph that the runtime made of the model. ``seconds``: mean of the middle half of its runs."""

    name: str
    operator: str
    provider: str
    seconds: float
    runs: int


def events_of(lines: Iterable[str]) -> Iterator[Dict[str, Any]]:
    """The events of a profile, line by line; what is none is passed over."""
    for line in lines:
        text = line.strip().strip("[],").strip()
        if not text or len(text) > MAX_EVENT_BYTES:
            continue
        try:
            event = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            yield event


def node_times(events: Iterable[Dict[str, Any]], skip_runs: int = 0) -> List[NodeTime]:
    """The time of each node over all inferences but the first ``skip_runs``, in the order in which they first ran."""
    durations: Dict[str, List[int]] = {}
    about: Dict[str, Any] = {}
    run: List[Dict[str, Any]] = []
    done = 0
    for event in events:
        if event.get("cat") == "Node" and str(event.get("name", "")).endswith(KERNEL):
            run.append(event)
        elif event.get("name") == "model_run":
            if done >= skip_runs:
                _add(durations, about, run)
            done += 1
            run = []
    found = []
    for name, taken in durations.items():
        operator, provider = about[name]
        found.append(NodeTime(name, operator, provider, _middle(taken) * 1e-6, len(taken)))
    return found


def _add(durations: Dict[str, List[int]], about: Dict[str, Any], run: List[Dict[str, Any]]) -> None:
    """Adds the outermost nodes of one inference. A node that ran several times in it counts with their sum."""
    sums: Dict[str, int] = {}
    end = -1
    for event in sorted(run, key=_span):
        start, duration = _number(event.get("ts")), _number(event.get("dur"))
        if start + duration <= end and start < end:
            continue  # inside of another node
        end = max(end, start + duration)
        name = str(event["name"])[: -len(KERNEL)][:MAX_NAME]
        arguments = event.get("args")
        arguments = arguments if isinstance(arguments, dict) else {}
        if name not in about:
            if len(about) >= MAX_NODES:
                continue
            about[name] = (str(arguments.get("op_name", ""))[:MAX_NAME], str(arguments.get("provider", ""))[:MAX_NAME])
        sums[name] = sums.get(name, 0) + duration
    for name, total in sums.items():
        durations.setdefault(name, []).append(total)


def _span(event: Dict[str, Any]) -> Any:
    return _number(event.get("ts")), -_number(event.get("dur"))


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 60 else 0


def _middle(values: List[int]) -> float:
    """The mean of the middle half: the clock ticks in microseconds, so a median alone would be too coarse."""
    ordered = sorted(values)
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return sum(kept) / len(kept)

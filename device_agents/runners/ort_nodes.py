"""Which provider really ran a model's nodes: onnxruntime falls back to the CPU node by node and says nothing.

Profiling names the provider of every node that ran. It is done in a process of its own, before the model is loaded for
the measurement: the measured process (its memory, its first inference, a GPU's warm caches) knows nothing of it. For
the task "profile" the same process also tells what each node takes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, Iterable, List, Sequence

from device_agents.failures import AgentFailure
from device_agents.inputs import bind_shapes, make_feed
from device_agents.lifeline import die_with_parent
from device_agents.npz import data_shapes, read_npz
from device_agents.runners import ort, ort_errors
from device_agents.runners.ort_times import events_of, node_times
from device_agents.spec import AgentSpec

WARM_RUNS = 2  # of a profile of nodes
FEWEST_RUNS, MOST_RUNS, PROFILE_S = 3, 30, 2.0


def node_share_elsewhere(spec: AgentSpec) -> Dict[str, Any]:
    """{"nodes": {provider: share}, "time": {provider: share}}, from a child process; {"error": why} when it fails.

    A failure here is not the run's: what is wrong with the model is found again, and told, when it is loaded.
    """
    command = [sys.executable, "-m", "device_agents", "nodes", "--parent", str(os.getpid())]
    try:
        result = subprocess.run(
            command,
            input=json.dumps(spec.to_json()).encode("ascii"),
            stdout=subprocess.PIPE,
            check=False,
            timeout=min(spec.load_timeout_s, 3600.0),
        )
        share = json.loads(result.stdout.decode("utf-8").strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"error": "the profiled run took longer than {:g} s".format(spec.load_timeout_s)}
    except (OSError, ValueError, IndexError):
        return {"error": "the profiled run ended without an answer"}
    return share if isinstance(share, dict) else {"error": "the profiled run gave no shares"}


def main(argv: Sequence[str]) -> int:
    """The child's exit code. A spec on standard input, one line of JSON on standard output."""
    die_with_parent(int(argv[argv.index("--parent") + 1]))
    answer = os.dup(1)
    os.dup2(2, 1)  # native libraries print
    spec = AgentSpec.from_json(json.loads(sys.stdin.buffer.read().decode("utf-8")))
    try:
        share = profile(spec)
    except AgentFailure as error:
        share = {"error": error.message}
    os.write(answer, json.dumps(share).encode("ascii") + b"\n")
    return 0


def profile(spec: AgentSpec) -> Dict[str, Any]:
    """The shares of one profiled inference (the second, so that what is built at the first does not count as time).

    For the task "profile" there are more inferences, and ``times`` has [name, operator, provider, seconds, runs] of
    each node, in the order in which they ran.
    """
    onnxruntime = ort.import_onnxruntime()
    provider = ort.provider_name(spec.provider, onnxruntime.get_available_providers())
    with tempfile.TemporaryDirectory(prefix="edgewise-") as folder:
        options = ort.session_options(onnxruntime, spec)
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(folder, "profile")
        session = ort.make_session(onnxruntime, str(spec.model_path), options, provider)
        declared = ort.describe(session.get_inputs())
        arrays = (
            read_npz(spec.inputs["path"], declared, spec.inputs.get("scale")) if spec.inputs["kind"] == "npz" else None
        )
        binding = bind_shapes(declared, spec.batch, spec.dims, None if arrays is None else data_shapes(arrays))
        feed = make_feed(declared, binding, spec, arrays).batch(0)
        try:
            session.run(None, feed)
            session.run(None, feed)
            if spec.task == "profile":
                _more_runs(session, feed)
        except ort_errors.ort_exceptions() as error:
            raise ort_errors.run_failure(error, binding.shapes) from error
        file = session.end_profiling()
        if spec.task == "profile":
            return {**_shares_of(file), "times": _times_of(file)}
        return _shares_of(file)


def _more_runs(session: Any, feed: Dict[str, Any]) -> None:
    end_s = time.monotonic() + PROFILE_S
    for number in range(MOST_RUNS):
        if number >= FEWEST_RUNS and time.monotonic() >= end_s:
            return
        session.run(None, feed)


def _shares_of(path: str) -> Dict[str, Any]:
    with open(path, encoding="utf-8", errors="replace") as file:
        return shares(events_of(file))


def _times_of(path: str) -> List[List[Any]]:
    with open(path, encoding="utf-8", errors="replace") as file:
        return [list(node) for node in node_times(events_of(file), skip_runs=WARM_RUNS)]


def shares(events: Iterable[Dict[str, Any]]) -> Dict[str, Any]:
    """Shares by provider, of the nodes and of their time, from the events of an onnxruntime profile.

    A subgraph that a provider compiled into one node counts as one node; the share of the time is beside it for that.
    """
    counts: Dict[str, int] = {}
    durations: Dict[str, int] = {}
    for entry in events:
        provider = entry.get("args", {}).get("provider")
        if entry.get("cat") != "Node" or not provider or not entry.get("name", "").endswith("_kernel_time"):
            continue
        counts[provider] = counts.get(provider, 0) + 1
        durations[provider] = durations.get(provider, 0) + int(entry.get("dur", 0))
    return {"nodes": _normalised(counts), "time": _normalised(durations)}


def _normalised(values: Dict[str, int]) -> Any:
    total = sum(values.values())
    return {name: value / total for name, value in sorted(values.items())} if total else None

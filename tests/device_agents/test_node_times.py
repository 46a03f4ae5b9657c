"""What each node takes: read out of a profile as a stranger's text, and told by the agent with onnxruntime's own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents.runners.ort_times import events_of, node_times
from tests.support.agents import ROOT, run_agent

EXAMPLE = ROOT / "mobile" / "example" / "fashion_mnist.onnx"


def kernel(name: str, start: int, duration: int, **args: Any) -> dict[str, Any]:
    return {"cat": "Node", "name": f"{name}_kernel_time", "ts": start, "dur": duration, "args": args}


RUN_ENDS = {"cat": "Session", "name": "model_run", "ts": 0, "dur": 1}


def test_a_nodes_time_is_the_mean_of_the_middle_half_of_its_runs():
    events = []
    for duration in (10, 11, 12, 13, 900, 10, 11, 12):
        events += [kernel("conv", 0, duration, op_name="Conv", provider="CPU"), RUN_ENDS]
    (found,) = node_times(events)
    assert found == ("conv", "Conv", "CPU", pytest.approx(11.5e-6), 8)


def test_the_first_runs_are_left_out_and_an_unfinished_one_too():
    events = [kernel("a", 0, 500), RUN_ENDS, kernel("a", 600, 7), RUN_ENDS, kernel("a", 700, 90)]
    (found,) = node_times(events, skip_runs=1)
    assert (found.seconds, found.runs) == (pytest.approx(7e-6), 1)


def test_what_runs_inside_of_a_node_is_part_of_it_and_what_runs_twice_is_added():
    events = [
        kernel("body", 11, 4),  # events are told when they end: the body's before the loop's
        kernel("body", 16, 4),
        kernel("loop", 10, 20),
        kernel("after", 30, 5),
        kernel("after", 36, 2),
        RUN_ENDS,
    ]
    assert [(node.name, node.seconds) for node in node_times(events)] == [
        ("loop", pytest.approx(20e-6)),
        ("after", pytest.approx(7e-6)),
    ]


def test_events_are_read_line_by_line_whatever_stands_between():
    lines = ["[\n", json.dumps(kernel("a", 0, 3)) + ",\n", "garbage\n", "7,\n", json.dumps(RUN_ENDS) + "\n", "]\n"]
    assert [node.name for node in node_times(events_of(lines))] == ["a"]


@given(
    st.lists(
        st.one_of(
            st.text(),
            st.recursive(
                st.none() | st.integers() | st.floats() | st.text() | st.sampled_from(["Node", "a_kernel_time"]),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["cat", "name", "ts", "dur", "args"]), inner)
                ),
                max_leaves=12,
            ).map(json.dumps),
        )
    )
)
def test_a_damaged_profile_gives_times_or_nothing(lines):
    for node in node_times(events_of([*lines, json.dumps(RUN_ENDS)])):
        assert node.seconds >= 0
        assert node.runs > 0


def test_the_agent_tells_what_each_node_takes_beside_the_whole():
    stream = run_agent({"runner": "ort", "task": "profile", "model_path": str(EXAMPLE), "threads": 1, "min_count": 5})
    assert stream.done["outcome"] == "completed"
    assert len(stream.durations("measure")) >= 5
    times = stream.event("loaded")["node_times"]
    operators = [operator for _, operator, _, _, _ in times]
    assert operators.count("Conv") == 5
    assert all(seconds >= 0 and runs >= 3 for _, _, _, seconds, runs in times)
    assert sum(seconds for *_, seconds, _ in times) > 0
    assert len({name for name, *_ in times}) == len(times)


def test_a_plain_bench_does_not_profile():
    stream = run_agent({"runner": "ort", "model_path": str(EXAMPLE), "threads": 1, "min_count": 5})
    assert "node_times" not in stream.event("loaded")


def test_only_onnxruntime_profiles():
    stream = run_agent({"runner": "null", "task": "profile"})
    assert stream.failure["code"] == "bad-spec"
    assert "'ort' alone" in stream.failure["message"]

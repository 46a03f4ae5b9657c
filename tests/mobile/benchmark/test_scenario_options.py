"""What may be asked of scenarios, how long they measure, and the search for the highest rate."""

from __future__ import annotations

import pytest

from device_agents.scenarios import NAMES, Scenario
from device_agents.spec import AgentSpec
from mobile.benchmark.find_qps import TOLERANCE, find_qps
from mobile.benchmark.options import BenchOptions
from mobile.benchmark.scenario import PRESETS, SCENARIOS, length, scenario
from mobile.cli.comparison import METRICS as OFFERED
from mobile.cli.scenario import SCENARIOS as CHOICES
from mobile.compare.conditions import check
from mobile.compare.metrics import METRICS, metric
from mobile.compare.units import Manner, group_of
from mobile.errors import UsageError
from mobile.results import early_stopping
from tests.support.runs import MS, event, simple_run

SERVER = {"name": "server", "seed": 0, "qps": 50.0, "latency_bound_s": 0.01}


def test_host_device_and_command_line_know_the_same_scenarios():
    assert NAMES == SCENARIOS == CHOICES
    assert tuple(METRICS) == OFFERED


@pytest.mark.parametrize(
    "asked",
    [
        scenario("server", qps=5, latency_bound_s=0.1),
        scenario("rate", rate_hz=30),
        scenario("rate", rate_hz=30, late="queue", latency_bound_s=0.05),
        scenario("multi-stream"),
        scenario("multi-stream", samples_per_query=16, seed=4),
        *(scenario(name) for name in ("single-stream", "offline", "sustained")),
    ],
)
def test_what_the_host_asks_the_agent_takes(asked):
    spec = BenchOptions(scenario=asked, batch=(4,)).expand()[0].agent_spec("null", None, None)
    found = AgentSpec.from_json(spec)
    assert found.scenario == asked
    assert Scenario.of(found.scenario, found.batch).name == asked["name"]


def test_an_evaluation_has_no_scenario():
    spec = BenchOptions(scenario=SERVER, task="evaluate").agent_spec("null", None, None)
    assert spec["scenario"] == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scenario": SERVER, "command_preset": "trtexec"}, "single inferences"),
        ({"scenario": {"name": "multi-stream", "samples_per_query": 8}, "batch": (1, 3)}, "no multiple of --batch 3"),
    ],
)
def test_options_that_do_not_go_with_a_scenario(options, words):
    with pytest.raises(UsageError, match=words):
        BenchOptions(**options)


def test_presets_have_the_fewest_queries_that_give_a_bound():
    for preset in PRESETS.values():
        assert set(preset) == {"", *SCENARIOS}
        assert preset["single-stream"].min_count >= early_stopping.least_queries(0.9)
        for name in ("multi-stream", "server"):
            assert preset[name].min_count >= early_stopping.least_queries(0.99)
    assert length({}, "full") == (60.0, 1024, 600.0)


def test_what_is_given_goes_before_the_preset_and_the_longest_time_has_room_for_it():
    assert length(SERVER, "quick", 5.0, 100, 7.0) == (5.0, 100, 7.0)
    assert length({"name": "sustained"}, None, 1800.0).max_duration_s == 1860.0
    assert length({"name": "offline"}, None, 500.0).max_duration_s == 1000.0
    slow = {**SERVER, "qps": 0.5}
    assert length(slow, "quick").max_duration_s == 2 * 662 / 0.5


def server_run(qps: float, kept: bool, more=(), **spec):
    return simple_run(
        [5 * MS if kept else 20 * MS] * 500, scenario={**SERVER, "qps": qps}, more=[
            event("measured", reason="minimums", unserved=0), *more
        ], **spec,
    )  # fmt: skip


@pytest.mark.parametrize("limit", [3.0, 41.0, 97.0])
def test_the_search_finds_the_highest_rate_that_holds(limit):
    tried = []

    def measure(qps):
        tried.append(qps)
        return server_run(qps, qps <= limit)

    found = find_qps(measure, 0.01)
    assert limit / (1 + TOLERANCE) <= found.qps <= limit
    assert found.confirmed
    assert (tried[-1], len(tried)) == (found.qps, len(found.steps))
    assert max(tried) < 100.0  # 10 ms an inference: no rate above that can hold


def test_a_search_up_to_a_rate_that_still_holds_says_that_no_higher_one_was_tried():
    found = find_qps(lambda qps: server_run(qps, True), 0.01, most_qps=20.0)
    assert 20.0 / (1 + TOLERANCE) <= found.qps <= 20.0
    assert found.why == "it held twice; none above 20/s was tried"


def test_a_search_that_finds_none_says_so():
    found = find_qps(lambda qps: server_run(qps, False), 0.01)
    assert (found.qps, found.confirmed) == (None, False)
    assert "not even" in found.why


def test_a_run_that_is_invalid_for_something_else_ends_the_search():
    hot = event("throttled", why="it was hot")
    found = find_qps(lambda qps: server_run(qps, True, [hot]), 0.01)
    assert (found.qps, len(found.steps)) == (None, 1)
    assert "another reason" in found.why
    assert found.to_json()["steps"][0]["reasons"] == ["the agent reported throttling: it was hot"]


def test_a_rate_that_held_once_and_not_again_is_told():
    tried = []

    def measure(qps):
        tried.append(qps)
        return server_run(qps, qps <= 40 and tried.count(qps) == 1)

    found = find_qps(measure, 0.01, most_qps=80.0)
    assert found.qps is not None
    assert not found.confirmed


def group(name, *runs):
    return group_of(name, runs, metric("query-p99"), Manner(include_invalid=True))


@pytest.mark.parametrize("other", [{"qps": 60.0}, {"latency_bound_s": 0.02}, {"seed": 1}])
def test_runs_of_another_rate_or_bound_are_not_comparable(other):
    a = group("a", simple_run([5 * MS] * 500, scenario=SERVER))
    b = group("b", simple_run([5 * MS] * 500, scenario={**SERVER, **other}))
    with pytest.raises(UsageError, match=f"not comparable, scenario_{next(iter(other))}"):
        check([a, b], metric("query-p99"), [])
    assert check([a, a], metric("query-p99"), []) == []


def test_a_run_beside_others_is_not_comparable_with_a_lone_one():
    a, b = group("a", simple_run(scenario=SERVER)), group("b", simple_run(scenario=SERVER, beside=["b.onnx"]))
    with pytest.raises(UsageError, match="beside"):
        check([a, b], metric("query-p99"), [])


def test_queries_are_not_compared_where_there_are_none():
    (excluded,) = group("a", simple_run()).excluded
    assert "measured without --scenario" in excluded.reason

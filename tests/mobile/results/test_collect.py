"""The collector: records become a Run; what contradicts itself is refused, what is unknown is passed over."""

import pytest

from device_agents.records import decode, encode
from mobile.errors import AgentError
from mobile.results import collect
from tests.support.runs import block, collector, done, event, hello, samples, sensor, simple_run


def test_a_stream_becomes_a_run() -> None:
    made = collector(threads=2)
    made.feed(hello([sensor("temperature.cpu", "temperature"), sensor("temperature.gpu", "temperature")]))
    made.feed(
        event("loaded", 5, load_s=0.5, runtime={"name": "r", "version": "1"}, provider="CPU", node_share={"CPU": 1})
    )
    made.feed(block("measure", [10, 20], [3, 4], {"a": [1, 1]}))
    made.feed(block("measure", [30], [5], {"a": [2]}))
    made.feed(samples([1, 2], {"temperature.cpu": [50.0, 51], "temperature.gpu": [None, 60.5]}))
    made.feed(samples([3], {"temperature.cpu": [52.0], "late": [7]}))
    made.feed({"type": "outputs", "first": 0, "top1": [1, 2]})
    made.feed({"type": "outputs", "first": 2, "top1": [3]})
    assert made.run.done is None
    made.feed(done(3))
    run = made.run
    assert list(run.phase("measure").duration_ns) == [3, 4, 5]
    assert list(run.phase("measure").stages["a"]) == [1, 1, 2]
    assert run.samples.columns == {
        "temperature.cpu": [50.0, 51.0, 52.0],
        "temperature.gpu": [None, 60.5, None],
        "late": [None, None, 7.0],
    }
    assert list(run.top1) == [1, 2, 3]
    assert run.event("loaded")["load_s"] == 0.5
    assert run.done["outcome"] == "completed"
    environment = run.environment
    assert environment["threads"] == 2
    assert environment["governor"] == "performance"
    assert environment["agent"]["sha256"] == "cd" * 32
    assert environment["runtime"] == {"name": "r", "version": "1"}
    assert environment["node_share"] == {"CPU": 1}
    assert (environment["start_temperature_c"], environment["start_temperature_sensor"]) == (60.5, "temperature.gpu")


def test_what_is_unknown_is_passed_over() -> None:
    made = collector()
    made.feed({"type": "heartbeat", "x": 1})
    made.feed({})
    made.feed(block("cooldown", [1], [1]))
    made.feed({**block("measure", [1], [2]), "news": [1, 2, 3]})
    assert list(made.run.phases) == ["measure"]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (block("measure", [1, 2], [1]), "not equally long: start_ns 2, duration_ns 1"),
        (block("measure", [1], [1], {"a": []}), "not equally long"),
        (block("measure", [1], [1.5]), "not a list of whole numbers"),
        (block("measure", [1], ["x"]), "not a list of whole numbers"),
        (block("measure", [1], [-1]), "expected none below 0"),
        (block("measure", [1], [2**63]), "not a list of whole numbers"),
        (block("measure", None, [1]), "start_ns is NoneType"),
        ({**block("measure", [1], [1]), "stages": [1]}, "stages is list"),
        (samples([1, 2], {"t": [1.0]}), "not equally long"),
        (samples([1], {"t": ["hot"]}), "expected a number or null"),
        (samples([1], {"t": [True]}), "expected a number or null"),
        ({**samples([1], {}), "columns": [1]}, "no object of columns"),
        ({**samples([1], {}), "read_ns": [1, 2]}, "not equally long"),
        ({"type": "outputs", "first": 5, "top1": [1]}, "outputs.first is 5, expected 0"),
        ({"type": "outputs", "first": 0, "top1": ["a"]}, "not a list of classes"),
        ({"type": "outputs", "first": 0, "top1": None}, "not a list of classes"),
    ],
)
def test_contradictions_are_refused(record: dict, words: str) -> None:
    with pytest.raises(AgentError, match=words):
        collector().feed(record)


def test_stages_that_change_are_refused() -> None:
    made = collector()
    made.feed(block("measure", [1], [1], {"a": [1]}))
    with pytest.raises(AgentError, match="stages of phase measure changed"):
        made.feed(block("measure", [2], [1]))


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collect, "MAX_VALUES", 100)
    made = collector()
    made.feed(block("measure", list(range(50)), [1] * 50))
    with pytest.raises(AgentError, match="more than 100 values") as caught:
        made.feed(block("measure", [51], [1]))
    assert "--duration" in str(caught.value.hint)
    monkeypatch.setattr(collect, "MAX_EVENTS", 1)
    made.feed(event("a"))
    with pytest.raises(AgentError, match="more than 1 events"):
        made.feed(event("b"))


def test_numbers_that_are_none_become_null() -> None:
    made = collector()
    made.feed(decode(b'{"type":"samples","t_ns":[1],"columns":{"t":[NaN],"u":[1e999]},"read_ns":[1]}'))
    made.feed(decode(b'{"type":"event","t_ns":1,"name":"x","detail":{"a":[Infinity,{"b":NaN}]}}'))
    assert made.run.samples.columns == {"t": [None], "u": [None]}
    assert made.run.events[0]["detail"] == {"a": [None, {"b": None}]}


def test_the_first_failure_is_kept() -> None:
    made = collector()
    made.feed({"type": "failure", "code": "crashed", "message": "m", "hint": "h", "phase": "load", "t_ns": 1})
    made.feed({"type": "failure", "code": "killed", "message": "n"})
    assert made.run.failure == {"code": "crashed", "message": "m", "hint": "h", "phase": "load"}


def test_records_of_the_agent_pass() -> None:
    run = simple_run()
    assert len(run.phase("measure")) == 500
    made = collector()
    made.feed(decode(encode(done(0))))
    assert made.run.done["invocations"] == 0

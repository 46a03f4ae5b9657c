"""The conditions of a benchmark, from the command line to the board and back."""

from __future__ import annotations

import threading
import time

import pytest

from mobile.benchmark import BenchOptions, ConditionOptions, Manner, attach, bench
from mobile.benchmark.conditions import Series, pin
from mobile.benchmark.orchestrate import Request
from mobile.errors import UsageError
from mobile.inventory import Limits
from mobile.results.figures import figures
from mobile.results.started import content_of
from mobile.results.store import RunStore
from tests.support.cli import edgewise, edgewise_json
from tests.support.fleet import SLEEPER, FakeBoards
from tests.support.pinnable import CPU, Board

PASSED = {"type": "event", "name": "gate-passed", "detail": {"temperature_c": 45.0, "sensor": "temperature.cpu"}}


@pytest.fixture
def board(tmp_path):
    return Board(tmp_path / "tree").clocks().heat(45.0)


@pytest.fixture
def boards(tmp_path, monkeypatch, board):
    """A board that shows the tree's files."""
    made = FakeBoards(tmp_path / "boards", "a")
    device = made.inventory.devices["a"]
    made.inventory.devices["a"] = device.model_copy(update={"replay": str(board.path)})
    with made.in_place(monkeypatch):
        yield made


def measure(boards, tmp_path, conditions, *, repeat=1, duration_s=0.3, manner=None, on_progress=None):
    options = BenchOptions(**SLEEPER, min_count=3, duration_s=duration_s, repeat=repeat, conditions=conditions)
    store = RunStore(tmp_path / "runs.sqlite3")
    return bench([], ["a"], options, inventory=boards.inventory, store=store, manner=manner, on_progress=on_progress)


def events(run, name):
    return [event["detail"] for event in run.events if event["name"] == name]


def test_only_what_is_asked_goes_into_the_spec():
    assert ConditionOptions().agent_fields() == {"idle_s": None, "conditions": {}}
    asked = ConditionOptions(idle_s=2.0, cool_below_c=45.0, pins={"governor": "performance"}, probe=False)
    assert asked.agent_fields() == {
        "idle_s": 2.0,
        "conditions": {
            "cool_below_c": 45.0,
            "gate_timeout_s": 300.0,
            "pins": {"governor": "performance"},
            "probe": False,
        },
    }


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"idle_s": -1.0}, "--idle is -1"),
        ({"cool_below_c": 45000.0}, "--cool-below is 45000"),
        ({"cool_timeout_s": -1.0}, "--cool-timeout"),
        ({"max_temperature_c": float("nan")}, "--max-temp"),
        ({"intruders": "kill"}, "--intruders"),
        ({"cool_below_c": 80.0, "max_temperature_c": 70.0}, "--cool-below 80 is above --max-temp 70"),
    ],
)
def test_a_slip_is_named(fields, says):
    with pytest.raises(UsageError, match=says):
        ConditionOptions(**fields)


def test_pins_of_the_command_line():
    assert [pin("governor=performance"), pin("mode = 2"), pin("clocks=locked"), pin("sustained=on")] == [
        ("governor", "performance"),
        ("power_mode", "2"),
        ("clocks_locked", True),
        ("sustained", True),
    ]
    for text in ("governor", "governor=", "fan=255", "clocks=1.5GHz", "sustained=off"):
        with pytest.raises(UsageError, match="--pin"):
            pin(text)


def test_the_lower_limit_counts():
    asked = ConditionOptions(max_temperature_c=80.0)
    assert asked.within(None) is asked
    assert asked.within(85.0).max_temperature_c == 80.0
    assert asked.within(70.0).max_temperature_c == 70.0
    assert ConditionOptions().within(70.0).max_temperature_c == 70.0


def test_a_series_goes_back_to_its_first_start():
    series, asked = Series(), ConditionOptions(cool_back=True)
    assert series.next(asked).cool_back_to is None
    series.hear(PASSED)
    series.hear({**PASSED, "detail": {"temperature_c": 60.0, "sensor": "temperature.cpu"}})
    assert series.next(asked).cool_back_to == {"temperature_c": 45.0, "sensor": "temperature.cpu"}
    assert series.next(ConditionOptions()).cool_back_to is None


def test_repeats_cool_back_to_the_first(boards, tmp_path, board):
    heated = []

    def heat_once(progress):
        if progress.index == 0 and progress.state == "done" and not heated:
            heated.append(True)
            board.heat(60.0)
        if progress.index == 1 and progress.state == "gate":
            threading.Timer(0.3, board.heat, [46.5]).start()

    result = measure(
        boards, tmp_path, ConditionOptions(cool_back=True, cool_timeout_s=60.0), repeat=2, on_progress=heat_once
    )
    first, second = result.runs
    assert events(first, "gate-passed")[0]["temperature_c"] == 45.0
    assert events(second, "gate-started")[0]["below_c"] == 47.0
    assert events(second, "gate-passed")[0]["temperature_c"] == 46.5


def test_pins_are_in_the_run_and_gone_from_the_board(boards, tmp_path, board):
    found = board.state()
    result = measure(boards, tmp_path, ConditionOptions(pins={"governor": "performance"}))
    run = result.runs[0]
    assert [detail["now"] for detail in events(run, "pinned")] == ["performance"] * 2
    assert [detail["ok"] for detail in events(run, "restored")] == [True] * 2
    assert run.environment["device"]["governor"] == "performance"
    assert board.state() == found


def test_a_pin_that_cannot_be_held_is_a_failure_with_its_reason(boards, tmp_path):
    result = measure(boards, tmp_path, ConditionOptions(pins={"governor": "turbo"}))
    (failure,) = result.failures
    assert failure.code == "pin-failed"
    assert "ondemand, performance" in failure.message


def test_the_inventory_s_limit_stops_a_run_and_what_was_measured_is_kept(boards, tmp_path, board):
    device = boards.inventory.devices["a"]
    boards.inventory.devices["a"] = device.model_copy(update={"limits": Limits(max_temperature_c=80.0)})

    def heat(progress):
        if progress.state == "measure" and progress.detail.get("type") == "invocations":
            board.heat(85.0)

    result = measure(boards, tmp_path, ConditionOptions(), duration_s=50.0, on_progress=heat)
    assert not result.failures
    row = figures(result.runs[0])
    assert row["verdict"] == "invalid"
    assert "overheated" in row["reasons"][0]
    assert row["invocations"] > 0
    assert RunStore(tmp_path / "runs.sqlite3").get(row["id"]).failure["code"] == "overheated"


def test_a_detached_run_holds_to_its_end_without_us(boards, tmp_path, board):
    found = board.state()
    result = measure(
        boards,
        tmp_path,
        ConditionOptions(pins={"governor": "performance"}),
        duration_s=2.0,
        manner=Manner(detach=True),
    )
    end = time.monotonic() + 60.0
    while board.read(f"{CPU}/policy0/scaling_governor") != "performance":
        assert time.monotonic() < end
        time.sleep(0.05)
    (left,) = result.left
    collected = attach([left.run], inventory=boards.inventory, store=RunStore(tmp_path / "runs.sqlite3"))
    assert len(events(collected.runs[0], "restored")) == 2
    assert board.state() == found


def test_the_options_of_the_command_reach_the_spec(tmp_path):
    document = edgewise_json(
        "bench", "--runner", "null", "--duration", "0.1", "--warmup-duration", "0", "--idle", "0.1", "--no-probe",
        "--intruders", "ignore", cwd=tmp_path,
    )  # fmt: skip
    spec = document["runs"][0]["spec"]
    assert (spec["idle_s"], spec["conditions"]) == (0.1, {"probe": False, "intruders": "ignore"})


@pytest.mark.parametrize("words", [("--pin", "fan=255"), ("--max-temp", "hot"), ("--cool-below", "45000")])
def test_a_slip_on_the_command_line_is_a_usage_error(tmp_path, words):
    done = edgewise("bench", "--runner", "null", *words, cwd=tmp_path)
    assert done.returncode == 2
    assert words[0] in done.stderr


def test_requests_with_other_conditions_are_others(boards, tmp_path):
    store = RunStore(tmp_path / "runs.sqlite3")

    def content(**conditions):
        options = BenchOptions(runner="null", conditions=ConditionOptions(**conditions))
        request = Request.of([], ["a"], options, inventory=boards.inventory, store=store)
        return content_of(request._content())

    assert content() == content()
    assert content() != content(pins={"governor": "performance"})

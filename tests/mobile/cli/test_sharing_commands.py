"""`bundle`, `import`, tables, and stores that are damaged or odd, as a user meets them: each ends in a clear answer."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sqlite3
from array import array

import pytest

from mobile.cli.main import run
from mobile.results.run import MeterSamples
from mobile.results.store import RunStore
from tests.support.runs import SECOND, event, sensor
from tests.support.stored_runs import run_of, several


def edgewise(path, *arguments):
    """(exit code, stdout, stderr) of a command on a store."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["--store", str(path), *map(str, arguments)])
    assert "internal error" not in err.getvalue(), err.getvalue()
    return code, out.getvalue(), err.getvalue()


def stored(path, *groups):
    store = RunStore(path)
    for group in groups:
        for one in group:
            store.add(one)
    return path


@pytest.fixture(autouse=True)
def no_inventory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_runs_go_to_another_store_and_are_compared_there(tmp_path):
    mine = stored(
        tmp_path / "a.sqlite3", several(10, 5, environment={"label": "old"}),
        several(11, 5, seed=1, minute=5, environment={"label": "new"}),
    )  # fmt: skip
    code, out, _ = edgewise(mine, "bundle", "label=old", "label=new", "-o", tmp_path / "x.zip", "--json")
    assert code == 0
    assert len(json.loads(out)["runs"]) == 10
    theirs = tmp_path / "b.sqlite3"
    code, out, err = edgewise(theirs, "import", tmp_path / "x.zip", "--as", "desk", "--rerun")
    assert (code, err) == (0, "")
    assert "10 runs new, from desk" in out and "edgewise bench net.onnx --on local" in out
    code, out, _ = edgewise(theirs, "compare", "label=old", "label=new")
    assert code == 0 and "slower" in out
    code, out, _ = edgewise(theirs, "history", "net.onnx", "--on", "local")
    assert code == 0 and "10 runs" in out
    code, out, _ = edgewise(theirs, "runs")
    assert "from" not in out.splitlines()[1]  # all of one origin: said once or not at all
    code, out, _ = edgewise(theirs, "import", tmp_path / "x.zip")
    assert code == 0 and "already there" in out


def test_a_bundle_of_nothing_and_an_import_of_nothing_are_refused(tmp_path):
    path = stored(tmp_path / "a.sqlite3", [run_of(10)])
    code, _, err = edgewise(path, "bundle", "label=none", "-o", "x.zip")
    assert code == 2 and "no such run" in err
    code, _, err = edgewise(path, "import", "missing.zip")
    assert code == 2 and "no such file" in err
    code, _, err = edgewise(path, "bundle", "last", "-o", tmp_path / "no" / "x.zip")
    assert code == 2 and "cannot be written" in err
    code, _, err = edgewise(path, "bundle", "last", "-o", "x.zip", "--with-models", tmp_path)
    assert code == 2 and "net.onnx" in err
    assert not list(tmp_path.glob("*.zip")) and not list(tmp_path.glob(".*.part"))


def test_tables_are_written_into_files(tmp_path):
    path = stored(tmp_path / "a.sqlite3", several(10, 3))
    code, out, _ = edgewise(path, "runs", "--csv", "runs.csv", "--jsonl", "runs.jsonl")
    assert code == 0 and "3 runs" in out
    with open("runs.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    lines = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert [float(row["latency_p50_s"]) for row in rows] == [line["latency_s"]["p50"] for line in lines]
    code, out, _ = edgewise(path, "report", "last", "--samples-csv", "raw")
    assert code == 0
    assert sorted(one.name.split(".", 1)[1] for one in (tmp_path / "raw").iterdir()) == [
        "invocations.csv",
        "sensors.csv",
    ]
    code, _, err = edgewise(path, "runs", "--csv", tmp_path / "no" / "x.csv")
    assert code == 2 and "cannot be written" in err


def test_a_report_says_from_where_on_a_run_was_steady_and_what_a_token_costs(tmp_path):
    path = stored(tmp_path / "a.sqlite3", [run_of(10)])
    code, out, _ = edgewise(path, "report", "last", "--per", "token=10", "--carbon", "g_per_kwh=380,source=me")
    assert code == 0
    assert "steady all along" in out
    assert "per token: " in out and "no energy:" in out
    assert "no carbon: no energy was measured" in out
    code, _, err = edgewise(path, "report", "last", "--carbon", "380")
    assert code == 2 and "source=" in err
    code, _, err = edgewise(path, "report", "last", "--power-log", "x.csv")
    assert code == 2 and "--marker" in err


# Bad stores and odd runs


def spoiled(path, statement):
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


def test_a_store_of_a_newer_edgewise_is_refused_by_every_command(tmp_path):
    path = stored(tmp_path / "a.sqlite3", [run_of(10)])
    spoiled(path, "INSERT INTO migrations VALUES (99, 'from the future', '2030-01-01T00:00:00Z')")
    commands = (
        ("runs",), ("report", "last"), ("compare", "a", "b"), ("history", "net.onnx", "--on", "local"),
        ("bundle", "last", "-o", "x.zip"), ("runs", "--csv", "x.csv"),
    )  # fmt: skip
    for arguments in commands:
        code, _, err = edgewise(path, *arguments)
        assert code == 1 and "newer edgewise (schema 99" in err, arguments


@pytest.mark.parametrize(
    ("statement", "listed"),
    [
        ("UPDATE runs SET summary = '{' WHERE number = 2", "damaged"),
        ("UPDATE runs SET document = substr(document, 1, 200) WHERE number = 2", "valid"),
        ("UPDATE series SET data = X'70710000' WHERE run = 2", "valid"),
        ("UPDATE series SET data = substr(data, 1, length(data) - 3) WHERE run = 2", "valid"),
    ],
)
def test_one_damaged_row_hides_no_other(tmp_path, statement, listed):
    runs = several(10, 6, environment={"label": "old"})
    path = stored(tmp_path / "a.sqlite3", runs, several(12, 6, seed=1, minute=7, environment={"label": "new"}))
    spoiled(path, statement)
    code, out, _ = edgewise(path, "runs")
    assert code == 0 and out.count(runs[1].id) == 1 and "12 runs" in out
    (line,) = [line for line in out.splitlines() if runs[1].id in line]
    assert listed in line
    code, out, err = edgewise(path, "report", runs[1].id)
    code_all, table, err_all = edgewise(path, "runs", "--csv", "x.csv", "--limit", "20")
    if listed == "damaged":
        assert (code, code_all) == (0, 0)  # the run itself is whole
    else:
        assert code == 1 and runs[1].id in err and "cannot be read" in err
        assert code_all == 1 and "11 runs" in table and runs[1].id in err_all
    code, out, _ = edgewise(path, "compare", "label=new", ",".join(one.id for one in runs))
    assert code == 0 and "faster" in out
    assert (f"left out: {runs[1].id}" in out) == (listed != "damaged")


def test_two_runs_only_are_not_decided_and_say_how_many_more(tmp_path):
    path = stored(
        tmp_path / "a.sqlite3",
        [run_of(10, environment={"label": "a"})],
        [run_of(12, seed=1, environment={"label": "b"})],
    )
    code, out, _ = edgewise(path, "compare", "label=a", "label=b")
    assert code == 0 and "undecided; at least 3 more runs of each may tell" in out


def test_zero_variance_is_said_and_equal_runs_are_no_difference(tmp_path):
    same = [run_of(10, seed=0, environment={"label": label}) for label in "aaaaabbbbb"]
    path = stored(tmp_path / "a.sqlite3", same)
    code, out, _ = edgewise(path, "compare", "label=a", "label=b")
    assert code == 0
    assert "same figure, to the last digit" in out
    assert "faster" not in out and "slower" not in out


def test_runs_without_sensors_are_left_out_of_joules_with_the_reason(tmp_path):
    path = stored(
        tmp_path / "a.sqlite3", several(10, 4, environment={"label": "a"}), several(9, 4, environment={"label": "b"})
    )
    code, _, err = edgewise(path, "compare", "label=a", "label=b", "--metric", "energy")
    assert code == 2
    assert "no run to compare" in err and "no energy" in err
    code, out, _ = edgewise(path, "report", "last", "--json")
    assert json.loads(out)["runs"][0]["energy"] is None


def test_missing_and_impossible_samples_are_gaps_and_never_zero(tmp_path):
    about = sensor("power.VDD_IN", "power", unit="W", scope="module input", resolution=0.01)
    nan, never = float("nan"), 1e18
    for law, word in ((lambda t: None, "no figure"), (lambda t: nan, "nan"), (lambda t: never, "no measurement")):
        one = run_of(10, count=400, sensors=[about], columns={"power.VDD_IN": law})
        path = stored(tmp_path / f"{word[:3]}.sqlite3", [one])
        code, out, _ = edgewise(path, "report", "last", "--json")
        (row,) = json.loads(out)["runs"]
        assert code == 0 and row["energy"] is None and row["energy_missing"]


def test_a_meter_that_stopped_gives_no_joules_and_the_reason(tmp_path):
    one = run_of(10, count=1000)
    one.events += [event("warmup-done", SECOND), event("measured", 11 * SECOND)]
    about = {"name": "meter.x", "kind": "x", "scope": "wall", "period_s": 0.5, "resolution_w": 0.1, "offset_w": None,
             "gain": None, "accuracy_source": None}  # fmt: skip
    times = list(range(0, 4 * SECOND, SECOND // 2))
    one.meter = MeterSamples(
        about, array("q", times), array("q", [1] * len(times)), [5.0] * len(times), [None] * len(times),
        {"warmup-done": SECOND, "measured": 11 * SECOND}, {"the meter did not answer any more": 1},
    )  # fmt: skip
    path = stored(tmp_path / "a.sqlite3", [one])
    code, out, _ = edgewise(path, "report", "last", "--json")
    (row,) = json.loads(out)["runs"]
    assert code == 0 and row["energy"] is None
    assert "power.meter.x" in row["energy_missing"]


@pytest.mark.parametrize("jump_ns", [-5 * SECOND, 3600 * SECOND])
def test_a_device_clock_that_jumps_ends_in_a_figure_or_a_reason_and_no_crash(tmp_path, jump_ns):
    about = sensor("power.VDD_IN", "power", unit="W", scope="module input", resolution=0.01)
    one = run_of(10, count=600, sensors=[about], columns={"power.VDD_IN": lambda t: 5.0})
    half = len(one.samples.t_ns) // 2
    one.samples.t_ns = array("q", [t + (jump_ns if place >= half else 0) for place, t in enumerate(one.samples.t_ns)])
    path = stored(tmp_path / "a.sqlite3", [one])
    code, out, _ = edgewise(path, "report", "last", "--json")
    (row,) = json.loads(out)["runs"]
    assert code == 0
    assert row["energy"] is None and row["energy_missing"]
    assert edgewise(path, "report", "last")[0] == 0
    assert edgewise(path, "bundle", "last", "-o", "x.zip")[0] == 0


def test_an_empty_comparison_says_what_is_missing(tmp_path):
    path = stored(tmp_path / "a.sqlite3", [run_of(10)])
    for arguments, words in (
        (("label=a", "label=b"), "no such run"),
        (("net.onnx",), "nothing to compare it with"),
        (("net.onnx", "other.onnx"), "other.onnx"),
        (("last", "last"), "in 'last' and in 'last'"),
    ):
        code, _, err = edgewise(path, "compare", *arguments)
        assert code == 2 and words in err, arguments

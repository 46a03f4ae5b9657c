"""`edgewise compare` and `history` as a user runs them: verdicts, refusals, and clear answers to bad stores."""

from __future__ import annotations

import json
import sqlite3

import pytest
from click.testing import CliRunner

from mobile.cli.main import cli, run
from mobile.results.store import RunStore
from tests.support.stored_runs import run_of, several


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A store with a model before and after a change, on one board and on another."""
    path = tmp_path_factory.mktemp("store") / "runs.sqlite3"
    store = RunStore(path)
    for one in several(10, 6, environment={"label": "before"}, spread=0.004):
        store.add(one)
    for one in several(11, 6, seed=1, minute=10, environment={"label": "after"}, spread=0.004):
        store.add(one)
    for one in several(9, 4, seed=2, model="other.onnx", device="pi5", spread=0.004):
        store.add(one)
    return path


def edgewise(path, *arguments):
    """(exit code, stdout, stderr) of a command on a store."""
    import contextlib
    import io

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(["--store", str(path), *map(str, arguments)])
    return code, out.getvalue(), err.getvalue()


def test_a_slow_down_fails_a_pipeline(filled):
    code, out, err = edgewise(filled, "compare", "label=before", "label=after", "--fail-if", "slower:3%")
    assert code == 1
    assert "slower" in out
    assert "label=after is slower against label=before" in err
    code, _, err = edgewise(filled, "compare", "label=after", "label=before", "--fail-if", "slower:3%")
    assert (code, err) == (0, "")


def test_the_json_has_the_figures_of_the_table(filled):
    code, out, _ = edgewise(filled, "compare", "label=before", "label=after", "--json")
    assert code == 0
    document = json.loads(out)
    (one,) = document["comparisons"]
    assert one["verdict"] == "slower"
    assert 1.05 < one["low"] < one["ratio"] < one["high"] < 1.15
    assert (one["p"], one["runs"]) == (pytest.approx(2 / 924), [6, 6])
    assert [len(group["runs"]) for group in document["groups"]] == [6, 6]
    assert document["failed"] == []


def test_two_boards_are_refused_until_it_is_meant(filled):
    code, _, err = edgewise(filled, "compare", "label=before", "other.onnx@pi5")
    assert code == 2
    assert "not comparable, device: local (label=before), pi5 (other.onnx@pi5)" in err
    assert "--allow device" in err
    code, out, _ = edgewise(filled, "compare", "label=before", "other.onnx@pi5", "--allow", "device")
    assert code == 0
    assert "device: local" in out


def test_ids_the_newest_runs_and_factors_select_too(filled):
    ids = [row["id"] for row in RunStore(filled).list(model="net.onnx")]
    after, before = ids[:6], ids[6:]
    code, out, _ = edgewise(filled, "compare", ",".join(before), ",".join(after), "--json")
    assert json.loads(out)["comparisons"][0]["verdict"] == "slower"
    code, out, _ = edgewise(filled, "compare", "label=before,last=2", "label=after,last=2")
    assert code == 0
    assert "undecided" in out
    code, out, _ = edgewise(
        filled, "compare", "label=before", "other.onnx", "--by", "model", "--allow", "device", "--json"
    )
    assert code == 0, out
    assert json.loads(out)["effects"][0]["effect"] == "model"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["label=before"], 2, "nothing to compare it with"),
        (["label=before", "label=nothing"], 2, "there is no such run"),
        (["label=before", "label=before"], 2, "is in 'label=before' and in 'label=before'"),
        (["label=before", "colour=red"], 2, "no 'colour' to select by"),
        (["label=before", "label=after,last=0"], 2, "no number of runs"),
        (["label=", "label=after"], 2, "selects nothing"),
        (["label=before", "label=after", "--margin", "many"], 2, "no share such as 2%"),
        (["label=before", "label=after", "--fail-if", "worse"], 2, "is not understood"),
        (["label=before", "label=after", "--metric", "energy"], 2, "no energy of an inference"),
        (["label=before,model=net.onnx", "label=after", "--by", "threads"], 2, "the same threads"),
        ([], 2, "Missing argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_compared_is_said(filled, arguments, code, words):
    got, out, err = edgewise(filled, "compare", *arguments)
    assert got == code
    assert words in err
    assert "Traceback" not in out + err


def test_an_empty_store_and_a_newer_one_and_one_that_is_none(tmp_path, filled):
    code, _, err = edgewise(tmp_path / "empty.sqlite3", "compare", "a", "b")
    assert code == 2
    assert "there is no such run" in err
    newer = tmp_path / "newer.sqlite3"
    newer.write_bytes(filled.read_bytes())
    with sqlite3.connect(newer) as connection:
        connection.execute("INSERT INTO migrations VALUES (99, 'of the future', '2030-01-01T00:00:00Z')")
    connection.close()
    code, _, err = edgewise(newer, "compare", "label=before", "label=after")
    assert code == 1
    assert "written by a newer edgewise" in err
    other = tmp_path / "other.sqlite3"
    other.write_text("no database")
    assert edgewise(other, "compare", "a", "b")[0] == 1


def test_damaged_rows_are_left_out_and_named(tmp_path, filled):
    path = tmp_path / "damaged.sqlite3"
    path.write_bytes(filled.read_bytes())
    ids = [row["id"] for row in RunStore(path).list(model="net.onnx")]
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE series SET data = X'00' WHERE run = (SELECT number FROM runs WHERE id = ?)", (ids[0],)
        )
        connection.execute("UPDATE runs SET document = '{' WHERE id = ?", (ids[-1],))
    connection.close()
    code, out, _ = edgewise(path, "compare", "label=before", "label=after", "--json")
    assert code == 0
    groups = json.loads(out)["groups"]
    assert [len(group["runs"]) for group in groups] == [5, 5]
    assert groups[1]["left_out"][0]["id"] == ids[0]
    assert "cannot be read" in groups[1]["left_out"][0]["reason"]


def test_invalid_runs_are_shown_apart(tmp_path):
    store = RunStore(tmp_path / "runs.sqlite3")
    bad = run_of(50, environment={"label": "b"})
    bad.done = None
    for one in [*several(10, 5, environment={"label": "a"}), *several(10, 5, seed=1, environment={"label": "b"}), bad]:
        store.add(one)
    code, out, _ = edgewise(store.path, "compare", "label=a", "label=b")
    assert code == 0
    assert f"left out: {bad.id}: invalid: the stream was cut" in out
    _, out, _ = edgewise(store.path, "compare", "label=a", "label=b", "--include-invalid", "--json")
    assert len(json.loads(out)["groups"][1]["runs"]) == 6


def test_steady_parts_are_compared_alone_when_asked(tmp_path):
    pytest.importorskip("ruptures")
    from tests.support.runs import simple_run

    store = RunStore(tmp_path / "runs.sqlite3")
    for label, warm in (("a", 20), ("b", 30)):
        for place in range(4):
            steady = 10_000_000 + place * 1000
            one = simple_run([warm * 1_000_000] * 60 + [steady] * 90)
            one.environment["label"] = label
            store.add(one)
    _, out, _ = edgewise(store.path, "compare", "label=a", "label=b", "--metric", "mean", "--json")
    assert json.loads(out)["comparisons"][0]["verdict"] == "slower"
    _, out, _ = edgewise(store.path, "compare", "label=a", "label=b", "--metric", "mean", "--steady", "--json")
    assert json.loads(out)["comparisons"][0]["verdict"] == "equivalent"


def test_history_shows_the_level_that_changed(filled):
    pytest.importorskip("ruptures")
    code, out, _ = edgewise(filled, "history", "net.onnx", "--on", "local", "--json")
    assert code == 0
    document = json.loads(out)
    assert [len(level["runs"]) for level in document["levels"]] == [6, 6]
    assert document["levels"][1]["change"]["verdict"] == "slower"
    code, out, err = edgewise(filled, "history", "net.onnx", "--on", "local", "--fail-if", "slower:3%")
    assert code == 1
    assert "12 runs, 1 change" in out
    assert "is slower against before" in err
    code, _, err = edgewise(filled, "history", "net.onnx", "--on", "nowhere")
    assert code == 2
    assert "there is no such run" in err


def test_the_options_of_turns_need_compare():
    for option in (["--runs", "8"], ["--budget", "9"], ["--fail-if", "slower"]):
        done = CliRunner().invoke(cli, ["bench", "--runner", "null", *option], obj={})
        assert done.exit_code != 0
        assert "goes with --compare" in str(done.exception)


def test_the_metrics_of_the_command_line_are_all_that_there_are():
    from mobile.cli.comparison import METRICS
    from mobile.compare import metrics

    assert tuple(metrics.METRICS) == METRICS

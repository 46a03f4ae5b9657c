"""`edgewise bench A B --compare`: launches in turns on this machine, stored with their places, and a verdict."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from mobile.benchmark import BenchOptions
from mobile.benchmark.interleave import Turns, variants_of
from mobile.benchmark.orchestrate import Manner, Request
from mobile.errors import UsageError
from mobile.results.store import RunStore
from tests.support.cli import edgewise, edgewise_json

QUICK = ("--runner", "null", "--duration", "0.02", "--min-count", "50", "--warmup-duration", "0", "--idle", "0")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(folder, document) of a null runner with one thread and with two, in turns."""
    folder = tmp_path_factory.mktemp("turns")
    store = ("--store", "runs.sqlite3")
    return folder, edgewise_json(
        *store, "bench", *QUICK, "--threads", "1,2", "--compare", "--runs", "4", "--label", "turns", cwd=folder
    )


def test_every_block_has_two_launches_of_each_variant(compared):
    _, document = compared
    marks = [run["environment"]["comparison"] for run in document["runs"]]
    assert len(marks) == 8
    assert Counter((mark["block"], mark["variant"]) for mark in marks) == Counter(
        {(block, name): 2 for block in (0, 1) for name in ("none, threads 1", "none, threads 2")}
    )
    assert {run["environment"]["label"] for run in document["runs"]} == {"turns"}


def test_the_answer_stands_beside_the_runs_and_can_be_asked_for_again(compared):
    folder, document = compared
    (found,) = document["comparisons"]
    assert found["stopped"] == "runs"
    assert found["device"] == "local"
    (one,) = found["comparisons"]
    assert one["interleaved"]
    good = Counter(run["environment"]["comparison"]["variant"] for run in document["runs"] if run["verdict"] == "valid")
    assert sorted(one["runs"]) == sorted(good.values())  # a run that a busy machine disturbed does not enter
    again = edgewise_json(
        "--store", "runs.sqlite3", "compare", "label=turns,threads=1", "label=turns,threads=2", cwd=folder
    )
    assert again["comparisons"][0]["ratio"] == pytest.approx(one["ratio"])
    assert again["comparisons"][0]["interleaved"]


def test_a_budget_ends_it_before_all_runs_are_measured(tmp_path):
    done = edgewise(
        "bench", *QUICK, "--threads", "1,2", "--until-decided", "--runs", "40", "--budget", "0.5", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "stopped: the budget is used up" in done.stdout
    assert "undecided" in done.stdout


def request(tmp_path, threads=(1, 2), manner=None, **options):
    store = RunStore(tmp_path / "runs.sqlite3")
    asked = BenchOptions(runner="null", threads=threads, **options)
    return Request.of([], ["local"], asked, store=store, manner=manner)


def test_what_cannot_be_measured_in_turns_is_said(tmp_path):
    with pytest.raises(UsageError, match="two variants"):
        variants_of(request(tmp_path, threads=(1,)))
    with pytest.raises(UsageError, match="--repeat does not go"):
        variants_of(request(tmp_path, repeat=3))
    with pytest.raises(UsageError, match="--detach"):
        variants_of(request(tmp_path, manner=Manner(detach=True)))
    with pytest.raises(UsageError, match="--runs is 2"):
        Turns(2)
    with pytest.raises(UsageError, match="--budget is 0"):
        Turns(10, 0.0)


def test_the_same_model_twice_is_two_variants(tmp_path):
    from mobile import example

    store = RunStore(tmp_path / "runs.sqlite3")
    model = example.model_path()
    found = variants_of(Request.of([model, model], ["local"], BenchOptions(), store=store))
    assert [variant.name for variant in found] == [model.name, f"{model.name} #2"]


def test_until_decided_takes_two_variants(tmp_path):
    done = edgewise("bench", *QUICK, "--threads", "1,2,3", "--until-decided", cwd=tmp_path)
    assert done.returncode == 2
    assert "there are 3" in done.stderr
    assert json.loads(edgewise("runs", "--json", cwd=tmp_path).stdout)["runs"] == []


def test_a_variant_that_cannot_run_ends_it_after_its_first_block(tmp_path):
    from mobile import example

    done = edgewise(
        "bench", example.model_path(), "--threads", "1", "--provider", "cpu,nosuch", "--compare", "--runs", "20",
        "--duration", "0.02", "--warmup-duration", "0", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "nosuch" in done.stderr
    assert "there is no run to compare" in done.stderr
    assert len(json.loads(edgewise("runs", "--json", cwd=tmp_path).stdout)["runs"]) == 2

"""Levels of a history: none where nothing happened, the right ones where something did."""

from __future__ import annotations

import numpy as np
import pytest

from mobile.compare.history import alike, change_points, levels
from mobile.compare.metrics import metric
from mobile.compare.units import Group, group_of
from mobile.compare.verdict import Terms
from mobile.errors import UsageError
from tests.support.stored_runs import run_of, several

pytest.importorskip("ruptures")
P50 = Terms(metric("p50"))


def test_false_alarms_are_about_one_in_twenty():
    rng = np.random.default_rng(1)
    shown = sum(bool(change_points(rng.standard_t(3, 30))) for _ in range(60))
    assert shown <= 9


def test_two_changes_are_found_where_they_are():
    logs = (
        0.02 * np.random.default_rng(2).standard_normal(60) + 0.2 * (np.arange(60) >= 20) - 0.3 * (np.arange(60) >= 45)
    )
    assert change_points(logs) == [20, 45]


def test_one_disturbed_run_is_no_change():
    logs = 0.01 * np.random.default_rng(3).standard_normal(30)
    logs[12] += 3.0
    assert change_points(logs) == []


def test_few_or_equal_runs_have_one_level():
    assert change_points(np.array([1.0, 2.0])) == []
    assert change_points(np.zeros(30)) == []


def test_a_level_says_what_changed_and_which_model_it_was():
    runs = [*several(10, 12), *several(12, 12, seed=1, minute=12, sha="cd")]
    found = levels(group_of("net.onnx", runs, P50.metric).units, P50)
    assert [len(level.units) for level in found] == [12, 12]
    assert found[1].change.verdict == "slower"
    assert found[1].change.value == pytest.approx(1.2, rel=0.02)
    assert found[0].models != found[1].models
    assert found[1].to_json()["median"] == pytest.approx(0.012, rel=0.02)


def test_runs_under_other_conditions_than_the_newest_are_left_out():
    runs = [run_of(10, minute=0, threads=1), run_of(10, minute=1), run_of(10, minute=2)]
    group = group_of("net.onnx", runs, P50.metric)
    units, others = alike(group)
    assert len(units) == 2
    assert "threads 1 and not -" in others[0].reason
    assert len(alike(group, ["threads"])[0]) == 3
    assert alike(Group("none", ())) == ([], [])


def test_an_empty_history_says_so():
    with pytest.raises(UsageError, match="no run"):
        levels([], P50)

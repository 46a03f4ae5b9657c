"""What the prediction experiment draws, runs and counts; `python -m tests.soak.split` runs it."""

from __future__ import annotations

from collections import Counter

from tests.soak.split.settings import KINDS, Outcome, Setting, chosen, draw, grid, summary, table

LABELS = {"p0": "device", "p1": "split", "p2": "split", "p3": "split", "p4": "server"}


def outcome(measured, predicted, wrong=()):
    setting = Setting("nudenet", 4.0, 10.0, 5.0)
    return Outcome(setting, {}, 1.0, 1.0, predicted, predicted, LABELS, measured, wrong=list(wrong))


def test_settings_are_the_seeds_and_all_kinds_and_models_come_alike():
    kinds = {setting: KINDS[number % 3] for number, setting in enumerate(grid(["a", "b"]))}
    drawn = draw(kinds, 30, 5)
    assert drawn == draw(kinds, 30, 5) != draw(kinds, 30, 6)
    assert Counter(kinds[one] for one in drawn) == dict.fromkeys(KINDS, 10)
    assert Counter(one.model for one in drawn) == {"a": 15, "b": 15}
    assert len(set(drawn)) == 30


def test_a_kind_that_has_few_settings_gives_what_it_has():
    settings = grid(["a"])
    kinds = dict.fromkeys(settings, "device") | {settings[0]: "split"}
    assert Counter(kinds[one] for one in draw(kinds, 10, 1)) == {"device": 9, "split": 1}


def test_local_server_the_best_and_the_two_that_come_next_are_run():
    predicted = {"p0": 5.0, "p1": 4.0, "p2": 1.0, "p3": 2.0, "p4": 3.0}
    assert chosen(predicted, LABELS) == ["p0", "p4", "p2", "p3", "p1"]
    assert chosen({"p0": 1.0, "p4": 2.0}, LABELS) == ["p0", "p4"]


def test_a_predicted_best_within_five_percent_is_a_hit_and_one_above_is_a_miss():
    predicted = {"p0": 1.0, "p4": 2.0}
    near, far = outcome({"p0": 1.04, "p4": 1.0}, predicted), outcome({"p0": 1.06, "p4": 1.0}, predicted)
    told = summary([near, far])
    assert (told["whole"], told["hits"]) == (2, 1)
    assert told["interval"][0] < 0.5 < told["interval"][1]
    assert told["fastest"] == {"device": 0, "server": 2, "split": 0}
    assert [line.count("miss") for line in table([near, far]).splitlines()[2:]] == [0, 1]


def test_the_error_is_a_share_of_what_was_measured_and_a_line_holds_all_of_it():
    one = outcome({"p0": 2.0, "p4": 4.0}, {"p0": 1.0, "p4": 5.0})
    assert one.errors == {"p0": -0.5, "p4": 0.25}
    assert Outcome.from_json(one.to_json()) == one


def test_a_setting_in_which_a_run_failed_is_shown_and_not_counted():
    failed = outcome({"p0": 1.0}, {"p0": 1.0, "p4": 2.0}, ["p4: no answer"])
    assert summary([failed]) == {"settings": 1, "whole": 0}
    assert "no answer" in table([failed])

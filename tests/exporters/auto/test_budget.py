"""A budget is kept only when the interval says so."""

import pytest

from exporters.auto import Budget, parse_budget
from exporters.auto.trials import Trial, _with_pareto
from mobile.errors import UsageError
from mobile.results.accuracy import paired_accuracy_difference


@pytest.mark.parametrize(
    ("text", "budget"),
    [("size<=4MB,drop<=0.5%", Budget(4_000_000, 0.005)), ("drop <= 0.01", Budget(None, 0.01)),
     ("size<=1.5MiB", Budget(1_572_864, None)), ("drop<=0%,size<=900kB", Budget(900_000, 0.0))],
)  # fmt: skip
def test_a_budget_is_read(text, budget):
    assert parse_budget(text) == budget


@pytest.mark.parametrize("text", ["", "size<4MB", "size<=4MB,size<=5MB", "drop<=200%", "time<=3ms", "size<=4 miles"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(UsageError, match="budget"):
        parse_budget(text)


def drop(items, lost):
    """A source that is right on every item, an artifact that loses some of them."""
    return paired_accuracy_difference([True] * items, [False] * lost + [True] * (items - lost))


def test_a_thousand_items_cannot_show_half_a_percent():
    budget = parse_budget("drop<=0.5%")
    assert budget.judge(1, drop(1000, 2)) == "undecided"  # 0.2 %, and its interval reaches above 0.5 %
    assert budget.judge(1, drop(100_000, 200)) == "within"
    assert budget.judge(1, drop(1000, 50)) == "over"


def test_a_size_beyond_the_budget_is_over_whatever_the_drop():
    assert parse_budget("size<=10kB").judge(10_001, drop(1000, 0)) == "over"
    assert parse_budget("size<=10kB").judge(10_000, drop(1000, 900)) == "within"


def test_the_pareto_set_holds_what_no_other_beats():
    tried = [
        Trial("big", "within", 100, drop(100, 0)), Trial("small", "over", 10, drop(100, 20)),
        Trial("beaten", "over", 50, drop(100, 30)), Trial("none", "failed", why="no"),
    ]  # fmt: skip
    marked = {trial.scheme: trial.pareto for trial in _with_pareto(tried)}
    assert marked == {"big": True, "small": True, "beaten": False, "none": False}
    assert [trial.scheme for trial in _with_pareto(tried)] == ["small", "beaten", "big", "none"]

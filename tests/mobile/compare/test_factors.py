"""Analyses of variance by permutation agree with the classical ones where those hold."""

from __future__ import annotations

import numpy as np
import pytest

from mobile.compare.anova import effects
from mobile.errors import UsageError


def test_one_way_has_the_f_of_scipy_and_about_its_p():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(1)
    groups = [rng.normal(level, 1, 8) for level in (0.0, 0.5, 1.0)]
    theirs = stats.f_oneway(*groups)
    (one,) = effects(np.concatenate(groups), {"model": ["a"] * 8 + ["b"] * 8 + ["c"] * 8})
    assert one.f == pytest.approx(theirs.statistic)
    assert one.p == pytest.approx(theirs.pvalue, abs=0.03)
    assert one.freedom == (2, 21)
    assert 0 <= one.omega_squared < 1


def test_two_way_finds_main_effects_and_their_interaction():
    rng = np.random.default_rng(2)
    model = np.repeat(["a", "b"], 12)
    threads = np.tile(np.repeat(["1", "2", "4"], 4), 2)
    logs = 0.1 * (model == "b") + 0.2 * (threads == "4") + rng.normal(0, 0.02, 24)
    found = {one.name: one for one in effects(logs, {"model": model, "threads": threads})}
    assert set(found) == {"model", "threads", "model x threads"}
    assert found["model"].p < 0.001
    assert found["threads"].p < 0.001
    assert found["model x threads"].p > 0.05
    crossed = logs + 0.1 * ((model == "b") & (threads == "4"))
    assert {one.name: one.p for one in effects(crossed, {"m": model, "t": threads})}["m x t"] < 0.01


def test_p_values_are_even_where_nothing_matters():
    rng = np.random.default_rng(3)
    levels = ["a"] * 5 + ["b"] * 5
    small = sum(effects(rng.normal(0, 1, 10), {"x": levels}, seed=seed)[0].p <= 0.05 for seed in range(25))
    assert small <= 6


def test_a_hole_in_the_design_and_too_few_runs_are_named():
    with pytest.raises(UsageError, match="no run with m b and t 2"):
        effects(range(5), {"m": list("aabbb"), "t": list("12111")})
    with pytest.raises(UsageError, match="too few"):
        effects([1.0, 2.0], {"m": ["a", "b"]})
    with pytest.raises(UsageError, match="one or two"):
        effects([1.0], {})


def test_identical_runs_have_no_effect():
    (one,) = effects([1.0] * 8, {"m": list("aaaabbbb")})
    assert one.p == 1.0
    assert one.omega_squared == 0.0

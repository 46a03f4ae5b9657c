"""Faster, slower, equivalent, undecided: each where it belongs, and a clear answer to what cannot be compared."""

from __future__ import annotations

import math

import pytest

from mobile.compare.answer import answer, by_levels
from mobile.compare.conditions import check, differences
from mobile.compare.failing import Limit, broken, limit
from mobile.compare.metrics import metric
from mobile.compare.units import Manner, group_of
from mobile.compare.until import decided, until
from mobile.compare.verdict import Terms, compare, fewest_runs, holm
from mobile.errors import UsageError
from tests.support.runs import event, sensor
from tests.support.stored_runs import run_of, several

P50 = Terms(metric("p50"))


def group(name, runs, terms=P50, **manner):
    return group_of(name, runs, terms.metric, Manner(**manner))


def verdict_of(runs_a, runs_b, terms=P50):
    (one,) = compare([group("a", runs_a, terms), group("b", runs_b, terms)], terms)
    return one


def test_a_slower_b_is_called_slower_with_the_ratio_and_an_interval_around_it():
    one = verdict_of(several(10, 8), several(11, 8, seed=1))
    assert one.verdict == "slower"
    assert one.low < one.value < one.high
    assert one.value == pytest.approx(1.1, rel=0.02)
    assert one.p < 0.01
    assert one.further is None


def test_a_faster_b_is_called_faster():
    assert verdict_of(several(11, 8), several(10, 8, seed=1)).verdict == "faster"


def test_alike_runs_are_equivalent_when_they_scatter_little_and_undecided_when_much():
    assert verdict_of(several(10, 10, spread=0.004), several(10, 10, spread=0.004, seed=1)).verdict == "equivalent"
    wide = verdict_of(several(10, 6, spread=0.05), several(10, 6, spread=0.05, seed=1))
    assert wide.verdict == "undecided"
    assert wide.further > 20


def test_a_real_difference_far_below_the_margin_is_equivalent():
    one = verdict_of(several(10, 10, spread=0.0005), several(10.03, 10, spread=0.0005, seed=1))
    assert one.p < 0.01
    assert one.verdict == "equivalent"


def test_two_runs_only_are_undecided_and_say_how_many_more_it_takes():
    one = verdict_of([run_of(10)], [run_of(20)])
    assert one.verdict == "undecided"
    assert (one.low, one.high, one.spread) == (None, None, None)
    assert one.further == fewest_runs(0.05) - 1 == 3


def test_three_runs_a_side_can_never_differ():
    assert verdict_of(several(10, 3), several(20, 3, seed=1)).verdict == "undecided"


def test_zero_variance_is_equivalent_to_itself_and_noted():
    one = verdict_of([run_of(10)] * 5, [run_of(10)] * 5)
    assert one.verdict == "equivalent"
    assert (one.value, one.p) == (1.0, 1.0)
    assert 0.99 < one.low <= 1.0 <= one.high < 1.01  # what the inferences inside of the runs leave open
    assert any("the same figure" in note for note in one.notes)
    assert verdict_of([run_of(10)] * 5, [run_of(11)] * 5).verdict == "slower"


def test_runs_measured_one_side_after_the_other_are_noted():
    after = verdict_of(several(10, 4), several(10, 4, seed=1, minute=30))
    assert any("not interleaved" in note for note in after.notes)
    assert not any("not interleaved" in note for note in verdict_of(several(10, 4), several(10, 4)).notes)


def test_an_empty_group_says_why_its_runs_were_left_out():
    throttled = run_of(10)
    throttled.done = None
    with pytest.raises(UsageError, match="the stream was cut") as raised:
        compare([group("a", several(10, 4)), group("b", [throttled])], P50)
    assert "--include-invalid" in raised.value.hint
    with pytest.raises(UsageError, match="b: there is no run to compare"):
        compare([group("a", several(10, 4)), group("b", [])], P50)


def test_invalid_runs_are_left_out_and_only_enter_when_told():
    bad = run_of(50)
    bad.done = None
    runs = [*several(10, 4), bad]
    apart = group("a", runs)
    assert len(apart.units) == 4
    assert apart.excluded[0].run == bad.id
    assert "invalid" in apart.excluded[0].reason
    assert len(group("a", runs, include_invalid=True).units) == 5


def test_a_run_without_the_figure_is_left_out_with_the_reason():
    energy = Terms(metric("energy"))
    found = group("a", [run_of(10)], energy)
    assert not found.units
    assert "no energy of an inference" in found.excluded[0].reason
    nothing = group("a", [run_of(0.0, seed=1)])
    assert not nothing.units
    assert "too little for the device's clock" in nothing.excluded[0].reason


def test_a_figure_that_is_no_number_never_becomes_one():
    from mobile.compare.metrics import NoFigureError, value_of

    for wrong in (math.nan, math.inf, "fast", True):
        with pytest.raises(NoFigureError, match="no number"):
            value_of({"latency_s": {"p50": wrong}}, P50.metric)
    with pytest.raises(NoFigureError, match="nothing was measured"):
        value_of({"latency_s": {"p50": None}, "latency_missing": "nothing was measured"}, P50.metric)


def test_several_variants_are_corrected_for_their_number():
    assert holm([0.01, 0.04, 0.03]) == [0.03, 0.06, 0.06]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    groups = [group(name, several(10, 4, seed=seed)) for seed, name in enumerate("abcdef")]
    groups.append(group("g", several(20, 4, seed=9)))
    found = compare(groups, P50)
    assert found[-1].p == pytest.approx(2 / 70)
    assert found[-1].p_adjusted > 0.05
    assert found[-1].verdict == "undecided"


def test_a_wrong_margin_or_alpha_is_named():
    with pytest.raises(UsageError, match=r"--margin is 0"):
        Terms(metric("p50"), margin=0.0)
    with pytest.raises(UsageError, match=r"--alpha is 0\.5"):
        Terms(metric("p50"), alpha=0.5)
    with pytest.raises(UsageError, match="no metric 'speed'"):
        metric("speed")


# What may be compared


def changed(key, value):
    runs = several(11, 4, seed=1)
    for run in runs:
        if key in ("device", "provenance"):
            continue
        run.environment[key] = value
    return runs


@pytest.mark.parametrize(
    ("other", "key"),
    [
        (lambda: several(11, 4, device="pi5"), "device"),
        (lambda: several(11, 4, provenance="emulated"), "provenance"),
        (lambda: changed("power_mode", {"name": "MAXN", "id": 0}), "power_mode"),
        (lambda: changed("governor", "powersave"), "governor"),
        (lambda: changed("runtime", {"name": "onnxruntime", "version": "1.2"}), "runtime"),
        (lambda: several(11, 4, threads=4), "threads"),
        (lambda: several(11, 4, batch=8), "batch"),
        (lambda: several(11, 4, slow_down=2.0), "slow_down"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_differs_is_refused_until_it_is_allowed(other, key):
    groups = [group("before", several(10, 4)), group("after", other())]
    with pytest.raises(UsageError, match=f"not comparable, .*{key}") as raised:
        check(groups, P50.metric, [])
    assert "--allow" in raised.value.hint
    assert key in {difference.key for difference in differences(groups, P50.metric)}
    assert any(line.startswith(f"{key}: ") for line in check(groups, P50.metric, ["all"]))


def test_a_selector_may_name_what_was_asked_of_a_run_but_not_the_place():
    threads = [group("1", several(10, 4, threads=1)), group("4", several(10, 4, threads=4))]
    assert check(threads, P50.metric, [], named=["threads"]) == ["threads: 1 (1), 4 (4)"]
    places = [group("a", several(10, 4)), group("b", several(10, 4, device="pi5"))]
    with pytest.raises(UsageError, match="not comparable"):
        check(places, P50.metric, [], named=["device"])


def test_a_group_of_two_models_is_refused():
    mixed = group("net.onnx", [*several(10, 2), *several(10, 2, sha="cd")])
    with pytest.raises(UsageError, match="2 models"):
        check([mixed, group("b", several(10, 4))], P50.metric, [])
    assert check([mixed, group("b", several(10, 4))], P50.metric, ["model"]) == []


def powered(name, scope):
    law = {name: lambda t: 5.0}
    about = sensor(name, "power", scope=scope, resolution=0.04)
    return [run_of(10, count=600, seed=seed, sensors=[about], columns=law) for seed in range(4)]


def test_joules_of_two_scopes_are_refused():
    energy = Terms(metric("energy"))
    module = group("a", powered("power.VDD_IN", "module input"), energy)
    board = group("b", powered("power.VIN", "board input"), energy)
    assert module.units, module.excluded
    assert board.units, board.excluded
    with pytest.raises(UsageError, match="energy_scope"):
        check([module, board], energy.metric, [])
    found = answer([module, group("c", powered("power.VDD_IN", "module input"), energy)], energy)
    assert any("sensor's gain" in note for note in found.notes)


# Factors


def test_factors_are_found_with_their_size():
    runs = [
        run for threads, ms in ((1, 10), (2, 6)) for run in several(ms, 5, threads=threads, seed=threads, spread=0.01)
    ]
    groups = by_levels([group("all", runs)], ["threads"])
    assert [one.name for one in groups] == ["threads 1", "threads 2"]
    (effect,) = answer(groups, P50, factors=["threads"]).effects
    assert effect.p < 0.02
    assert effect.omega_squared > 0.9


def test_one_level_is_no_factor():
    with pytest.raises(UsageError, match="the same threads"):
        by_levels([group("all", several(10, 4))], ["threads"])
    with pytest.raises(UsageError, match="no 'colour'"):
        by_levels([group("all", several(10, 4))], ["colour"])


# In turns


def in_turns(effect, blocks=10, spread=0.005):
    sides = ([], [])
    for side, ms in enumerate((10.0, 10.0 * (1 + effect))):
        for place, run in enumerate(several(ms, 2 * blocks, seed=side + 7, spread=spread)):
            run.environment["comparison"] = {"id": "x", "block": place // 2, "variant": side}
            sides[side].append(run)
    return [group("a", sides[0]), group("b", sides[1])]


def test_until_decided_ends_with_a_difference_or_with_equivalence():
    slower = until(*in_turns(0.05), P50, 15)
    assert slower.verdict == "slower"
    assert slower.interleaved
    assert slower.looks == 10
    assert 1 < slower.low < 1.05 < slower.high
    assert decided(*in_turns(0.05), P50, 15)
    alike = until(*in_turns(0.0), P50, 15)
    assert alike.verdict == "equivalent"
    noisy = until(*in_turns(0.0, blocks=2, spread=0.05), P50, 15)
    assert noisy.verdict == "undecided"
    assert noisy.further >= 1
    assert not decided(*in_turns(0.0, blocks=2, spread=0.05), P50, 15)


def test_runs_that_were_not_measured_in_turns_have_no_sequential_verdict():
    with pytest.raises(UsageError, match="in turns"):
        until(group("a", several(10, 4)), group("b", several(10, 4)), P50, 15)


# --fail-if


def test_limits_are_read_and_broken_by_the_verdict_alone():
    assert limit("slower:3%") == Limit("slower", 0.03)
    assert limit("different:0.05").share == 0.05
    slower = verdict_of(several(10, 8), several(11, 8, seed=1))
    assert broken([limit("slower:3%")], [slower])
    assert not broken([limit("slower:30%"), limit("faster"), limit("undecided")], [slower])
    assert broken([limit("different")], [slower])
    noisy = verdict_of([run_of(10)], [run_of(20)])
    assert not broken([limit("slower:3%")], [noisy])
    assert broken([limit("undecided")], [noisy])


@pytest.mark.parametrize("text", ["", "worse", "slower:", "slower:x", "undecided:3%", "slower:-1%", "slower:nan"])
def test_a_limit_that_is_none_is_named(text):
    with pytest.raises(UsageError, match="--fail-if"):
        limit(text)


def test_a_changed_event_makes_a_run_invalid_and_so_leaves_it_out():
    moved = run_of(10, more=[event("changed", 5, what="governor", before="performance", after="powersave")])
    found = group("a", [moved])
    assert "governor changed during the run" in found.excluded[0].reason

"""The integrator against laws whose integral is known, and what it says of its readings."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobile.results import integrate, uncertainty
from mobile.results.integrate import Edge, NoEnergyError
from mobile.results.phases import phases
from mobile.results.window import Series, Window

S = 1_000_000_000
finite = st.floats(-1e12, 1e12)


def series(law, times_s) -> Series:
    return Series([round(t * S) for t in times_s], [law(t) for t in times_s])


def every(step_s: float, count: int, start_s: float = 0.0) -> list[float]:
    return [start_s + i * step_s for i in range(count)]


@given(st.lists(st.floats(1e-3, 2.0), min_size=3, max_size=40), st.floats(-50, 50), st.floats(-5, 5), st.data())
def test_a_straight_line_is_integrated_exactly_however_it_is_read(steps, start_w, slope, data) -> None:
    times = [0.0]
    for step in steps:
        times.append(times[-1] + step)
    low = data.draw(st.floats(0, times[-1] * 0.4))
    high = data.draw(st.floats(times[-1] * 0.6, times[-1]))
    window = Window(round(low * S), round(high * S))
    found = integrate.trapezoid(series(lambda t: start_w + slope * t, times), window, 0.0)
    low, high = window.start_ns / S, window.end_ns / S
    assert found.energy_j == pytest.approx(start_w * (high - low) + slope * (high**2 - low**2) / 2, abs=1e-5)
    assert found.covered_s == pytest.approx(high - low, abs=1e-6)


@given(st.lists(st.tuples(st.integers(0, 10**12), finite), min_size=2, max_size=60), st.data())
def test_any_readings_give_numbers_or_a_reason(pairs, data) -> None:
    ordered = sorted(dict(pairs).items())
    if len(ordered) < 2:
        return
    found = Series([t for t, _ in ordered], [value for _, value in ordered])
    start = data.draw(st.integers(found.t_ns[0], found.t_ns[-1] - 1))
    window = Window(start, data.draw(st.integers(start + 1, found.t_ns[-1])))
    part = integrate.around(found, window, 10**12)
    assert math.isfinite(integrate.trapezoid(part, window, 0.1).energy_j)
    try:
        whole = integrate.unwrapped(part, data.draw(st.sampled_from([None, 1.0, 65_532.0])), "counter")
    except NoEnergyError:
        return
    rise = integrate.difference(whole, window, 0.1, 1e-6)
    assert math.isfinite(rise.energy_j)
    assert rise.energy_j >= -1e-3 * max(1.0, abs(found.values[0]))


def test_a_gap_is_told_and_its_length() -> None:
    times = [t for t in every(0.1, 101) if not 4.0 < t < 5.0]
    found = integrate.trapezoid(series(lambda t: 5.0, times), Window(0, 10 * S), 0.0)
    assert found.gaps_s == [pytest.approx(1.0)]
    assert found.energy_j == pytest.approx(50.0)


def test_the_edges_say_how_far_the_next_reading_was_and_what_it_showed() -> None:
    found = series(lambda t: 10.0 if t < 2.05 else 4.0, every(0.1, 40))
    whole = integrate.trapezoid(found, Window(round(0.53 * S), round(2.07 * S)), 0.0)
    assert whole.edges[0] == Edge(pytest.approx(0.07), pytest.approx(0.03), 0.0)
    assert whole.edges[1] == Edge(pytest.approx(0.07), pytest.approx(0.03), pytest.approx(6.0))


@pytest.mark.parametrize("update_s", [0.5, 1.0, 2.0])
def test_a_source_slower_than_its_sampler_is_known_by_its_repeats(update_s: float) -> None:
    found = series(lambda t: math.sin(7.3 * ((t + 1e-6) // update_s)), every(0.1, 300))
    assert integrate.update_period_s(found, 0.04) == pytest.approx(update_s, abs=0.11)


def test_a_steady_value_between_two_steps_is_no_slow_source() -> None:
    found = series(lambda t: 5.0 + 0.04 * (int(t * 10) // 7 % 2), every(0.1, 300))
    assert integrate.update_period_s(found, 0.04) is None
    assert integrate.update_period_s(found, 0.0) is None


def test_a_source_that_is_new_at_each_reading_tells_no_period() -> None:
    found = series(lambda t: math.sin(100 * t), every(0.1, 300))
    assert integrate.update_period_s(found, 0.001) is None
    assert integrate.counter_update_s(series(lambda t: 3.7 * t, every(0.1, 100)), 0.0) is None


@pytest.mark.parametrize(("update_s", "step_j"), [(1.0, 50.0), (7.0, 50.0), (5.0, 1.0)])
def test_what_an_update_adds_to_a_counters_steps_is_bounded(update_s: float, step_j: float) -> None:
    def law(t: float) -> float:
        return math.floor(6.0 * (t // update_s) * update_s / step_j) * step_j

    told = integrate.counter_update_s(series(law, every(1.0, 400)), step_j)
    assert update_s - 1e-6 <= told <= update_s + 2.0


def test_a_counter_that_wraps() -> None:
    found = series(lambda t: (65_530 + 5.0 * t) % 65_532.0, every(0.1, 60))
    whole = integrate.unwrapped(found, 65_532.0, "counter")
    assert whole.values[-1] - whole.values[0] == pytest.approx(5.0 * 5.9)


def test_a_counter_that_was_set_back_is_no_wrap() -> None:
    found = series(lambda t: 1000 + 5.0 * t if t < 3 else 5.0 * (t - 3), every(0.1, 60))
    with pytest.raises(NoEnergyError, match="set back to 0"):
        integrate.unwrapped(found, 65_532.0, "counter")


def test_a_gap_in_which_a_counter_may_have_wrapped_unseen() -> None:
    times = [t for t in every(1.0, 3000) if not 100 < t < 900]
    found = series(lambda t: (100.0 * t) % 65_532.0, times)
    with pytest.raises(NoEnergyError, match=r"was not read for 800 s, in which it may have wrapped unseen"):
        integrate.unwrapped(found, 65_532.0, "counter")


def test_rails_are_added_where_all_have_a_value() -> None:
    whole = integrate.added([Series([1, 2, 3], [1.0, 2.0, 3.0]), Series([1, 3, 4], [10.0, 30.0, 40.0])])
    assert whole == Series([1, 3], [11.0, 33.0])


def test_each_step_of_charge_flows_at_the_voltage_of_its_time() -> None:
    charge = Series([0, 10 * S, 20 * S], [100.0, 90.0, 70.0])
    voltage = Series([0, 20 * S], [4.0, 3.8])
    assert integrate.charge_energy(charge, voltage, -1.0).values == pytest.approx([0.0, 39.5, 39.5 + 77.0])


def test_places_in_the_cycle() -> None:
    starts = [i * S // 10 for i in range(50)]
    window, durations = Window(0, 5 * S), [S // 20] * 50
    locked = phases([i * S // 10 + S // 50 for i in range(50)], window, starts, durations)
    assert locked.cycle_s == pytest.approx(0.1)
    assert locked.unevenness > 0.7
    assert locked.unseen > 0.7
    assert (locked.busy_share, locked.busy_readings) == (pytest.approx(0.5), 50)
    even = phases([round((0.1 + 0.618034e-1) * i * S) for i in range(30)], window, starts, durations)
    assert (even.unevenness, even.unseen) == (0.0, 0.0)
    assert phases([], window, starts, durations) is None
    assert phases([1, 2], window, starts[:1], durations[:1]) is None


def test_the_needed_time_is_that_of_the_parts() -> None:
    step = [uncertainty.Part("resolution", "end", 50 / math.sqrt(6))]
    # k * 20.4 J is 5 % of 816 J: at 5 W that is 163 s, at a power one standard uncertainty lower somewhat more
    assert uncertainty.needed_s(step, 5.0 * 100, 100.0) == pytest.approx(1.2 * 816.5 / (5 - 0.204), rel=1e-3)
    scatter = [uncertainty.Part("noise", "random", 1.0 * math.sqrt(10 * 20) * 0.1)]
    assert uncertainty.needed_s(scatter, 100.0, 20.0) == pytest.approx(
        1.2 * 20 * (2 * 1.414 / 98.586 / 0.05) ** 2, rel=1e-3
    )
    assert uncertainty.needed_s([uncertainty.Part("offset", "systematic", 50.0)], 100.0, 10.0) == 0.0
    assert uncertainty.needed_s(step, 0.0, 10.0) is None


def test_parts_are_combined_as_the_gum_does() -> None:
    parts = [uncertainty.Part("a", "end", 3.0), uncertainty.Part("b", "systematic", 4.0)]
    assert uncertainty.combined_j(parts) == pytest.approx(10.0)
    assert uncertainty.open_shares([*parts, uncertainty.Part("sampling", "random", 4.0)], 100.0) == (0.06, 0.1)


def test_offsets_of_one_monitor_add_and_steps_add_as_squares() -> None:
    accuracy = {"offset": 0.3, "gain": 0.01, "noise": None}
    about = uncertainty.traits([{"name": n, "resolution": 0.4, "period_s": 0.0066, "accuracy": accuracy} for n in "ab"])
    assert (about.offset, about.gain, about.step) == (0.6, 0.01, pytest.approx(0.4 * math.sqrt(2)))
    assert about.unknown == []
    damaged = uncertainty.traits([{"name": "c", "resolution": "x", "period_s": None, "accuracy": {"offset": -1}}])
    assert (damaged.step, damaged.period_s, damaged.offset) == (0.0, 0.0, 0.0)

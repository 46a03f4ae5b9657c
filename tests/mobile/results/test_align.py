"""A run is found in a meter's trace by its marker, with an uncertainty that holds; what is not clear is refused."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from device_agents.conditions.marker import pattern
from mobile.results.align import Marker, NotAlignedError, align, markers_of
from mobile.results.metered import ALIGNED, PART, meter_energies
from mobile.results.run import MeterSamples
from mobile.results.window import Series
from tests.support.runs import SECOND, event, simple_run

CHIP_S = 0.5
BEFORE, AFTER = Marker("before", 100.0, CHIP_S, pattern("before")), Marker("after", 190.0, CHIP_S, pattern("after"))


def trace(
    rng, *, offset_s, drift=0.0, period_s=0.1, noise_w=0.3, busy_w=3.0, length_s=130.0, lag=0.0, step=0.1, markers=None
):
    """Readings of a board of 5 W whose bursts add ``busy_w``; ``lag``: a reading is the mean of so long before it."""
    fine = np.arange(0.0, length_s, 0.002)
    watts = np.full(len(fine), 5.0) + 0.5 * np.sin(fine / 17)
    watts[(fine > 30) & (fine < 80)] += 2.0  # the run
    device = 90.0 + fine
    for marker in (BEFORE, AFTER) if markers is None else markers:
        place = np.floor((device - marker.start_s) / marker.chip_s).astype(int)
        inside = (place >= 0) & (place < len(marker.bits))
        bits = np.array([int(bit) for bit in marker.bits])
        watts[inside] += busy_w * bits[place[inside]]
    at = np.arange(1.0, length_s - 1, period_s) + rng.uniform(0, 0.01, len(np.arange(1.0, length_s - 1, period_s)))
    total = np.concatenate(([0.0], np.cumsum(watts))) * 0.002
    grid = np.arange(len(total)) * 0.002
    read = (
        np.interp(at, fine, watts) if not lag
        else (np.interp(at, grid, total) - np.interp(at - lag, grid, total)) / lag
    )  # fmt: skip
    read = np.round((read + rng.normal(0, noise_w, len(at))) / step) * step
    stamps = (90.0 + at) + offset_s + drift * (90.0 + at - 100.0)
    return Series([round(t * 1e9) for t in stamps], [float(value) for value in read])


def test_the_patterns_are_maximum_length_sequences():
    for when in ("before", "after"):
        signs = np.array([1 if bit == "1" else -1 for bit in pattern(when)])
        assert len(signs) == 31 and signs.sum() == 1
        assert {int(signs @ np.roll(signs, shift)) for shift in range(1, 31)} == {-1}


@pytest.mark.parametrize("period_s", [0.02, 0.1, 0.3])
def test_offset_and_drift_are_found_within_their_uncertainty(period_s):
    rng = np.random.default_rng(5)
    held = []
    for _ in range(4):
        offset, drift = float(rng.uniform(-5e4, 5e4)), float(rng.uniform(-2e-4, 2e-4))
        found = align(trace(rng, offset_s=offset, drift=drift, period_s=period_s), [BEFORE, AFTER])
        for device_s in (120.0, 170.0):
            error_s = found.trace_ns(round(device_s * 1e9)) / 1e9 - (device_s + offset + drift * (device_s - 100.0))
            held.append(abs(error_s) <= 2 * found.uncertainty_s(round(device_s * 1e9)) + 0.01)
        assert found.uncertainty_s(round(120e9)) < period_s
    assert sum(held) >= 7


def test_a_meters_lag_is_a_part_of_the_offset():
    rng = np.random.default_rng(6)
    found = align(trace(rng, offset_s=7.0, period_s=0.2, lag=0.2), [BEFORE, AFTER])
    assert found.offset_s == pytest.approx(7.1, abs=0.05)  # the middle of what a reading is the mean of


def test_one_marker_gives_the_offset_and_leaves_the_drift_open():
    found = align(trace(np.random.default_rng(7), offset_s=-3.0), [BEFORE])
    assert found.offset_s == pytest.approx(-3.0, abs=0.05)
    assert found.uncertainty_s(round(2000e9)) > found.uncertainty_s(round(110e9)) * 2


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"busy_w": 0.0}, "not clear"),
        ({"noise_w": 30.0}, "not clear"),
        ({"markers": [AFTER]}, "not clear"),
        ({"period_s": 0.45}, "too few for bursts"),
    ],
)
def test_a_marker_that_is_not_clear_is_refused(changed, word):
    for seed in range(2):
        with pytest.raises(NotAlignedError, match=word):
            align(trace(np.random.default_rng(seed), offset_s=1.0, **changed), [BEFORE, AFTER])


def test_a_pattern_that_comes_twice_is_refused():
    twice = [BEFORE, BEFORE._replace(start_s=130.0), AFTER]
    with pytest.raises(NotAlignedError, match="another by"):
        align(trace(np.random.default_rng(8), offset_s=1.0, markers=twice), [BEFORE])


def test_a_clock_that_was_set_in_between_is_refused():
    one = trace(np.random.default_rng(9), offset_s=1.0)
    stamps = [t if t < one.t_ns[600] else t + 2_000_000_000 for t in one.t_ns]
    with pytest.raises(NotAlignedError, match="clock was set"):
        align(Series(stamps, one.values), [BEFORE, AFTER])
    with pytest.raises(NotAlignedError, match="do not rise"):
        align(Series([5, 4, 6], [1.0, 2.0, 3.0]), [BEFORE])


def marked_run(power_w=8.0):
    """A run of 20 s from 1 s on (device) with markers, and a meter on a clock that is 50 s ahead and heard nothing."""
    run = simple_run([10_000_000] * 2000)
    marks = {"before": -20 * SECOND, "after": 23 * SECOND}
    for when, start_ns in marks.items():
        run.events.append(
            event("marker", 0, when=when, start_ns=start_ns, chip_s=CHIP_S, bits=pattern(when), processes=4)
        )
    t_s = np.arange(-25.0, 45.0, 0.1)
    watts = np.where((t_s >= 1.0) & (t_s < 21.0), power_w, 3.0)
    for when, start_ns in marks.items():
        place = np.floor((t_s - start_ns / 1e9) / CHIP_S).astype(int)
        on = np.array([0 <= p < 31 and pattern(when)[p] == "1" for p in place])
        watts = np.where(on, 6.0, watts)
    watts = watts + np.random.default_rng(1).normal(0, 0.05, len(watts))
    about = {"name": "meter.log", "kind": "log", "scope": "wall", "period_s": 0.1, "resolution_w": None,
             "offset_w": None, "gain": None, "accuracy_source": None}  # fmt: skip
    run.meter = MeterSamples(
        about, array("q", [round((t + 50.0) * 1e9) for t in t_s]), array("q"), [float(w) for w in watts], [],
    )  # fmt: skip
    return run


def test_energy_is_taken_from_the_aligned_window_with_no_event_heard():
    run = marked_run()
    assert len(markers_of(run)) == 2
    (figure,) = meter_energies(run, 2000)
    assert figure["alignment"]["by"] == "marker"
    assert figure["alignment"]["offset_s"] == pytest.approx(50.0, abs=0.1)
    assert abs(figure["total_j"] - 160.0) <= figure["uncertainty_j"]
    assert ALIGNED in figure["uncertainty_parts"] and PART not in figure["uncertainty_parts"]


def test_a_marker_that_is_not_found_leaves_the_receipt_of_the_events_and_says_so():
    run = marked_run()
    run.meter.power_w = [8.0 + 0.001 * (place % 7) for place in range(len(run.meter.t_ns))]
    (nothing,) = meter_energies(run, 2000)
    assert "not clear" in nothing["missing"] and "did not hear" in nothing["missing"]
    run.meter.marks = {"warmup-done": 51 * SECOND, "measured": 71 * SECOND}
    (figure,) = meter_energies(run, 2000)
    assert figure["alignment"]["by"] == "receipt"
    assert "not clear" in figure["alignment"]["why_no_marker"]
    assert PART in figure["uncertainty_parts"]

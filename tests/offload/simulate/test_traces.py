"""Traces: what passes in a time is exact, files are read or refused with their line, generators are what they say."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobile.errors import InputError
from offload.simulate.read import parse_trace, read_trace
from offload.simulate.synthetic import KINDS, world
from offload.simulate.trace import Steps, Trace, TraceError, from_opportunities, from_rates

TWO = from_rates([0, 1, 3], [8e6, 2e6])  # 8 Mbit in the first second, 4 Mbit in the next two


@pytest.mark.parametrize(
    ("start", "bits", "end"),
    [
        (0.0, 4e6, 0.5),
        (0.5, 5e6, 1.5),  # 4 Mbit until 1 s, 1 Mbit at 2 Mbit/s
        (2.5, 1e6, 3.0),
        (2.5, 9e6, 4.0),  # 1 Mbit until it starts anew, then a second of 8
        (0.0, 12e6, 3.0),
        (0.0, 36e6, 9.0),
        (7.0, 0.0, 7.0),
    ],
)
def test_bits_take_the_time_that_the_rates_give(start: float, bits: float, end: float) -> None:
    assert TWO.sent_at(start, bits) == pytest.approx(end)
    assert TWO.carried(end) - TWO.carried(start) == pytest.approx(bits)


def test_a_link_that_carries_nothing_never_ends_and_a_gap_is_waited_for() -> None:
    assert from_rates([0, 1], [0]).sent_at(0.2, 1.0) == math.inf
    gap = from_rates([0, 1, 3, 4], [1e6, 0, 1e6])
    assert gap.sent_at(0.5, 6e5) == pytest.approx(3.1)
    assert gap.sent_at(1.5, 1e5) == pytest.approx(3.1)
    assert (gap.mean_bps, gap.scaled(2).mean_bps) == (5e5, 1e6)


def test_packets_pass_at_their_milliseconds_and_an_unused_one_is_lost() -> None:
    trace = from_opportunities([0, 5, 5, 20])
    assert trace.duration_s == 0.02
    assert trace.bits[-1] == 4 * 12_000
    assert trace.sent_at(0.001, 12_000) == pytest.approx(0.005)
    assert trace.sent_at(0.001, 24_000) == pytest.approx(0.005)  # two at once
    assert trace.sent_at(0.001, 24_001) == pytest.approx(0.020)
    assert trace.sent_at(0.005, 12_000) == pytest.approx(0.020)  # what passes at that moment is gone
    assert trace.sent_at(0.006, 30_000) == pytest.approx(0.025)  # 20 ms, that of 0 anew at the same time, 25 ms


rates = st.lists(st.tuples(st.floats(1e-3, 10), st.one_of(st.just(0.0), st.floats(1, 1e9))), min_size=1, max_size=20)


@settings(max_examples=300, deadline=None)
@given(rates, st.floats(0, 100), st.floats(1, 1e9))
def test_sending_and_carrying_are_each_others_inverse(
    steps: list[tuple[float, float]], start: float, bits: float
) -> None:
    times = [0.0]
    for length, _ in steps:
        times.append(times[-1] + length)
    trace = from_rates(times, [rate for _, rate in steps])
    end = trace.sent_at(start, bits)
    if trace.bits[-1] == 0:
        assert end == math.inf
        return
    assert end >= start
    slack = 1e-6 * (bits + trace.carried(end))
    assert trace.carried(end) - trace.carried(start) >= bits - slack
    before = trace.carried(start + (end - start) * (1 - 1e-6)) - trace.carried(start)
    assert before <= bits + slack


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=60), st.integers(0, 4000), st.integers(1, 200))
def test_a_mahimahi_trace_is_the_emulators_loop(times: list[int], start_ms: int, packets: int) -> None:
    """Against a plain loop over opportunities, as the emulator has it."""
    times = [*sorted(times), max(times) + 1]
    trace = parse_trace("\n".join(map(str, times)))
    left, turn = packets, 0
    while True:
        later = [ms + turn * times[-1] for ms in times if ms + turn * times[-1] > start_ms]
        if len(later) >= left:
            want = later[left - 1] / 1000
            break
        left, turn = left - len(later), turn + 1
    assert trace.sent_at(start_ms / 1000 + 1e-7, packets * 12_000 - 1e-3) == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "mean_bps", "duration_s"),
    [
        ("0,8\n1,2\n", 5e6, 2.0),
        ("t,Mbit/s\n10,8\n11,2", 5e6, 2.0),
        ("time_ms,kbit/s\n0,8000\n1000,2000", 5e6, 2.0),
        ("time (s);bandwidth_mbps\n0;8\n1;2", 5e6, 2.0),
        ("# a comment\n0 8\n1 2 # more\n\n", 5e6, 2.0),
        ("\ufeff0,8\r\n1,2\r\n".lstrip("\ufeff"), 5e6, 2.0),
        ("100\n200\n", 2 * 12_000 / 0.2, 0.2),
    ],
)
def test_a_file_is_read_with_its_units(text: str, mean_bps: float, duration_s: float) -> None:
    trace = parse_trace(text)
    assert trace.mean_bps == pytest.approx(mean_bps)
    assert trace.duration_s == pytest.approx(duration_s)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no lines"),
        ("# only\n", "no lines"),
        ("5\n3", "line 2: 3 ms comes after 5 ms"),
        ("5\nx", "line 2: 'x' is no number of milliseconds"),
        ("0\n0", "the last delivery must be after 0"),
        ("0,1\n0,2", "line 2: the time 0 does not come after"),
        ("0,1\n1,-2", "line 2: the bandwidth"),
        ("0,1\n1,nan", "line 2: '1,nan' is not a time"),
        ("0,1\n1,1e300", "line 2: the bandwidth"),
        ("0,1,2\n1,2,3", "line 1: .* names no units|neither two numbers"),
        ("t,MB/s\n0,1\n1,2", "names no units"),
        ("when,Mbit/s\n0,1\n1,2", "names no units"),
        ("0,1", "fewer than two"),
        ("0,1\n1e9,1", "longer than a week"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as error:
        read_trace(path)
    assert str(path) in error.value.message


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=60), st.text("0123456789,.e-\n mst/kbi", max_size=80)))
def test_any_text_is_a_trace_or_an_error_of_ours(text: str) -> None:
    try:
        trace = parse_trace(text)
    except TraceError:
        return
    assert 0 < trace.duration_s < math.inf
    assert 0 <= trace.mean_bps < math.inf
    assert all(a <= b for a, b in zip(trace.bits, trace.bits[1:], strict=False))


def test_steps_hold_until_the_next() -> None:
    steps = Steps(("up", "refused", "up"), (0.0, 2.0, 5.0))
    assert [steps.at(t) for t in (0, 1.9, 2, 4.9, 5, 99)] == ["up", "up", "refused", "refused", "up", "up"]
    assert steps.first(0.0, 1.0, "up") is None
    assert steps.first(0.0, 3.0, "up") == (2.0, "refused")
    assert steps.first(2.5, 3.0, "up") == (2.5, "refused")
    for bad in ((("a",), (1.0,)), (("a", "b"), (0.0, 0.0)), ((), ())):
        with pytest.raises(TraceError):
            Steps(*bad)


@pytest.mark.parametrize("kind", KINDS)
def test_a_synthetic_world_is_its_seeds_and_near_its_mean(kind: str) -> None:
    assert world(kind, 5) == world(kind, 5)
    assert world(kind, 5) != world(kind, 6)
    means = [world(kind, seed).up.mean_bps for seed in range(12)]
    assert 6e6 / 4 < sum(means) / len(means) < 6e6 * 4
    made = world(kind, 1)
    assert made.down.mean_bps == pytest.approx(2 * made.up.mean_bps)
    assert made.up.duration_s == pytest.approx(180.0)


def test_kinds_have_what_they_are_named_after() -> None:
    def rates_of(trace: Trace) -> list[float]:
        corners = list(zip(trace.times_s, trace.bits, strict=True))
        return [(b1 - b0) / (t1 - t0) for (t0, b0), (t1, b1) in pairwise(corners)]

    assert rates_of(world("outages", 3).up).count(0.0) > 10
    assert 0 < rates_of(world("lte", 3).up).count(0.0) < 100
    falls = rates_of(world("steps", 3).up)
    assert min(b / a for a, b in zip(falls, falls[10:], strict=False)) == pytest.approx(0.1, rel=0.01)  # in a second
    assert max(world("load", 3).slow_down.values) > 10
    assert max(world("heat", 3).device_scale.values) > 2
    for bad in (("tides", 1, 180.0), ("lte", 1, 0.0), ("lte", 1, 1e9)):
        with pytest.raises(TraceError):
            world(*bad)

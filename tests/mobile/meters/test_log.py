"""The log of a foreign meter: read by its column names, bounded, and refused in words when its clock does not rise."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobile.errors import InputError
from mobile.meters import log


def written(tmp_path, text):
    path = tmp_path / "log.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path


@pytest.mark.parametrize(
    "text",
    [
        "t_s,power_w\n1.0,5.5\n1.5,\n2.0,6.5\n",
        "Time_ms,Power_mW\n1000,5500\n1500,nan\n2000,6500\n",
        "\ufefftimestamp_s,voltage_v,current_ma\n1,5,1100\n1.5,5,\n2,5,1300\n",
    ],
)
def test_times_and_powers_are_si_and_a_missing_one_is_none(tmp_path, text):
    samples = log.read_log(written(tmp_path, text), scope="board input")
    assert list(samples.t_ns) == [1_000_000_000, 1_500_000_000, 2_000_000_000]
    assert samples.power_w == [pytest.approx(5.5), None, pytest.approx(6.5)]
    assert samples.about["scope"] == "board input"
    assert samples.about["period_s"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no column is a time"),
        ("t,p\n1,2\n", "no column is a time"),
        ("t_s,volts\n1,2\n2,3\n", "no column is a power"),
        ("t_s,power_w\n1,5\n0.5,5\n", "line 3 is not later"),
        ("t_s,power_w\n1,5\n1,5\n", "line 3 is not later"),
        ("t_s,power_w\nx,5\n", "line 2 has no time"),
        ("t_s,power_w\n1e300,5\n", "line 2 has no time"),
        ("t_s,power_w\n1,5\n", "at least two"),
        ("t_s,power_w\n" + "1" * 5000 + ",5\n", "more than 4096 characters"),
    ],
)
def test_what_is_no_log_is_refused_with_the_line(tmp_path, text, word):
    with pytest.raises(InputError, match=word):
        log.read_log(written(tmp_path, text))


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="t_spowerw,0123456789.-e\n\"'xN\0", max_size=200))
def test_any_text_ends_in_readings_or_in_our_error(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_text("t_s,power_w\n" + text)
    try:
        assert len(log.read_log(path).t_ns) >= 2
    except InputError as error:
        assert str(path) in error.message

"""Percentiles and spread against numpy on plain floats, and the shift that shows an unsteady run."""

from array import array

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobile.results.stats import LATENCY_KEYS, describe_ns, third_shift


@given(st.lists(st.integers(0, 10**13), min_size=1, max_size=200))
def test_figures_are_those_of_numpy(values: list[int]) -> None:
    found = describe_ns(array("q", values))
    seconds = np.array(values, dtype=np.float64) / 1e9
    assert list(found) == list(LATENCY_KEYS)
    assert (found["min"], found["max"]) == (min(values) / 1e9, max(values) / 1e9)
    for name, share in (("p50", 50), ("p90", 90), ("p99", 99)):
        assert found[name] == pytest.approx(np.percentile(seconds, share, method="linear"), rel=1e-12, abs=1e-18)
    assert found["mean"] == pytest.approx(seconds.mean(), rel=1e-12)
    assert found["min"] <= found["p50"] <= found["p90"] <= found["p99"] <= found["max"]
    if len(values) > 1:
        assert found["std"] == pytest.approx(np.std(np.array(values) - min(values), ddof=1) / 1e9, rel=1e-9, abs=1e-18)
    else:
        assert found["std"] is None


def test_the_stated_percentile_rule() -> None:
    # rank 1 + (n - 1) p: of 1..11 the 90th percentile is 10, of 1..4 the median is 2.5
    assert describe_ns(array("q", range(1, 12)))["p90"] == 10e-9
    assert describe_ns(array("q", [4, 1, 3, 2]))["p50"] == 2.5e-9


def test_nothing_is_null_not_zero() -> None:
    assert describe_ns(array("q")) == dict.fromkeys(LATENCY_KEYS)


def test_spread_keeps_its_digits_far_from_zero() -> None:
    far = 10**17
    assert describe_ns(array("q", [far, far + 1, far + 2]))["std"] == pytest.approx(1e-9, rel=1e-12)


def test_shift_of_the_last_third() -> None:
    assert third_shift(array("q", [100] * 10 + [110] * 10 + [130] * 10)) == pytest.approx(0.3)
    assert third_shift(array("q", [100] * 29)) is None
    assert third_shift(array("q", [0] * 30)) is None

"""The figures of the soak of policies on the lab: frames of one run beside those of another on the same trace."""

from __future__ import annotations

import pytest

from tests.soak.policy_live import LEAST_BPS, STEP_S, Frames, compared, rates_of, shown

FIXED = {
    "local": Frames((0.0, 0.1, 0.2, 0.3), (0.1, 0.1, 0.1, 0.1)),
    "server": Frames((0.0, 0.05, 0.25), (0.02, 0.05, 0.3)),
}


def test_a_frame_is_compared_with_the_one_that_began_nearest_to_it() -> None:
    assert [FIXED["server"].near(at) for at in (-1.0, 0.02, 0.03, 0.15, 0.16, 9.0)] == [
        0.02,
        0.02,
        0.05,
        0.05,
        0.3,
        0.3,
    ]


def test_regret_and_loss_are_over_the_adaptive_runs_own_frames() -> None:
    told = compared(Frames((0.0, 0.28), (0.02, 0.14)), FIXED)
    assert told["fixed_s"] == {"local": pytest.approx(0.1), "server": pytest.approx(0.16)}
    assert told["best_fixed"] == "local"
    assert told["regret"] == pytest.approx(0.08 / 0.06 - 1)
    assert told["against_best_fixed"] == pytest.approx(-0.2)


def test_rates_are_the_traces_means_and_what_is_too_slow_is_no_link() -> None:
    rates = rates_of(2, 1e6, 60.0)  # one with outages
    assert len(rates) == 60 / STEP_S
    assert 0.0 in rates
    assert min(rate for rate in rates if rate) >= LEAST_BPS
    assert rates == rates_of(2, 1e6, 60.0)


def test_the_table_has_a_line_for_each_way() -> None:
    told = {"regret": 0.1, "against_best_fixed": -0.02, "best_fixed": "local", "adaptive_s": 0.01}
    text = shown([{"trace": "lte:1", "mean_bps": 2e6, "live": told, "simulated": told, "simulated_s": 0.02}])
    assert "| lte:1 | 2.00 Mbit/s | live | 10.0 ms | 10.0% | -2.0% (local) |" in text
    assert "| lte:1 | 2.00 Mbit/s | simulated | 20.0 ms |" in text

"""What a run's environment takes from the facts of the device."""

from __future__ import annotations

from mobile.results.environment import environment_of


def test_the_power_mode_and_the_locked_clocks_explain_a_jetsons_row() -> None:
    facts = {"power_mode": {"name": "MAXN_SUPER", "id": 2}, "clocks_locked": True}
    environment = environment_of({"device": facts}, {})
    assert environment["power_mode"] == {"name": "MAXN_SUPER", "id": 2}
    assert environment["clocks_locked"] is True


def test_a_run_of_an_older_agent_does_not_know_them() -> None:
    environment = environment_of({"device": {}}, {})
    assert environment["power_mode"] is None and environment["clocks_locked"] is None

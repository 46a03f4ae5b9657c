"""What else makes a run unfair, and each word of it."""

from __future__ import annotations

from typing import Any

from mobile.results.circumstances import circumstances
from mobile.results.figures import figures
from tests.support.runs import SECOND, event, sensor, simple_run

BATTERY = {"scope": "battery terminal", "sensor": "power.battery"}


def judged(*events: dict[str, Any], **how: Any) -> dict[str, Any]:
    return figures(simple_run(more=list(events), **how))


def test_a_gate_that_was_not_passed() -> None:
    refused = event(
        "gate-refused", waited_s=300.0, temperature_c=61.0, sensor="temperature.cpu", below_c=45.0, why=None
    )
    row = judged(refused)
    assert row["reasons"] == ["it was not as cool as asked for: temperature.cpu at 61.0 C after 300.0 s"]
    failure = {"type": "failure", "code": "too-hot", "message": "61 C", "hint": "", "phase": "prepare"}
    assert judged(refused, failure)["reasons"] == ["it failed: too-hot: 61 C"]


def test_a_setting_that_changed_in_mid_run() -> None:
    row = judged(event("changed", what="governor", before="performance", after="powersave"))
    assert row["reasons"] == ["governor changed during the run, from performance to powersave"]


def test_settings_that_cannot_be_verified_or_put_back_are_warnings() -> None:
    row = judged(
        event("pinned", what="sustained mode", was=False, now=True, verified=False),
        event("pinned", what="governor", was="ondemand", now="performance", verified=True),
        event("restored", what="governor", to="ondemand", ok=False, why="permission denied"),
    )
    assert (row["verdict"], row["warnings"]) == (
        "valid",
        [
            "sustained mode was set to True, and this device cannot tell whether it holds",
            "governor could not be put back to ondemand: permission denied",
        ],
    )


def intruders(when: str, over: bool, share: float | None = 0.35, **more: Any) -> dict[str, Any]:
    detail = {"processes": [{"name": "apt", "share": 0.3}], "limit": 0.1, "steal": 0.0, **more}
    return event("intruders", when=when, over=over, share=share, **detail)


def test_other_processes_while_it_was_measured() -> None:
    line = "other processes took 35% of a core and other machines on this host 20% (apt 30%) while it ran"
    seen = (intruders("before", False), intruders("during", True, steal=0.2))
    row = judged(*seen)
    assert (row["reasons"], row["warnings"]) == ([], [line])
    assert judged(*seen, conditions={"intruders": "refuse"})["reasons"] == [line]
    ignored = judged(*seen, conditions={"intruders": "ignore"})
    assert (ignored["reasons"], ignored["warnings"]) == ([], [])
    assert judged(intruders("during", False))["warnings"] == []


def test_other_processes_that_were_seen_only_before() -> None:
    row = judged(intruders("before", True), intruders("during", False))
    assert (row["reasons"], row["warnings"]) == ([], ["other processes took 35% of a core (apt 30%) before it began"])
    assert judged(intruders("before", True, None))["warnings"] == [
        "other processes took too much CPU (apt 30%) before it began"
    ]


def test_energy_of_a_battery_on_its_charger() -> None:
    run = simple_run()
    run.environment["device"]["power_supply"] = {"source": "external", "battery": "Charging"}
    assert circumstances(run, None).reasons == []
    assert circumstances(run, {"scope": "board input", "sensor": "power.VIN"}).reasons == []
    assert circumstances(run, BATTERY).reasons == ["energy was taken from a battery while a charger was connected"]


def test_a_charger_that_comes_in_mid_run() -> None:
    flag = sensor("supply.external", "flag")
    run = simple_run(sensors=[flag], columns={flag["name"]: lambda t: float(t > 4)})
    assert circumstances(run, BATTERY).reasons == [
        "energy was taken from a battery that was being charged (supply.external)"
    ]
    run = simple_run(sensors=[flag], columns={flag["name"]: lambda t: 0.0})
    run.environment["device"]["power_supply"] = {"source": "external"}  # when the agent began; unplugged since
    assert circumstances(run, BATTERY).reasons == []
    current = sensor("current.battery", "current")
    run = simple_run(sensors=[current], columns={current["name"]: lambda t: 0.5})
    assert "current.battery" in circumstances(run, BATTERY).reasons[0]


def test_a_program_that_was_asked_too_seldom_is_a_warning() -> None:
    sources = {"vcgencmd": {"ticks": 5, "missed_ticks": 20}, "dumpsys": {"ticks": 20, "missed_ticks": 0}}
    assert judged(finish={"overhead": {"sources": sources}})["warnings"] == [
        "vcgencmd could be asked only 5 of 25 times"
    ]


def test_damaged_events_are_no_crash() -> None:
    for name in ("gate-refused", "changed", "pinned", "restored", "intruders", "probe", "guard", "throttled"):
        judged(
            event(name), event(name, over=True, ok=False, verified=False, processes=[None, {}], duration_ns=["x", None])
        )


def test_clocks_are_figures_of_their_own() -> None:
    at = sensor("frequency.policy0", "frequency", scope="CPUs 0-3")
    row = figures(simple_run(sensors=[at], columns={at["name"]: lambda t: 1.5e9 if t > 4 else 2.4e9}))
    (clock,) = row["clocks"]
    assert (clock["median_hz"], clock["min_hz"], clock["max_hz"], clock["scope"]) == (2.4e9, 1.5e9, 2.4e9, "CPUs 0-3")
    assert row["clocks_missing"] is None
    row = figures(simple_run(sensors=[sensor("frequency", "frequency", "absent", reason="no cpufreq")]))
    assert (row["clocks"], row["clocks_missing"]) == (None, "no cpufreq")
    assert figures(simple_run())["clocks_missing"] == "this device shows no clocks"


def test_the_window_is_what_counts_for_a_charger() -> None:
    flag = sensor("supply.external", "flag")
    run = simple_run(sensors=[flag], columns={flag["name"]: lambda t: float(t < -0.1)}, more=[event("x", SECOND)])
    assert circumstances(run, BATTERY).reasons == []

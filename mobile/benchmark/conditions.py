"""The conditions that a benchmark asks of its devices: cool enough, settings held, nothing else going on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from device_agents.records import Record
from mobile.errors import UsageError

GATE_TIMEOUT_S = 300.0
MAX_IDLE_S = 600.0
MARKER_S = (0.05, 60.0)
MARKER_BITS, MARKER_MARGIN_S = 31, 5.0  # device_agents/conditions/marker.py
INTRUDERS = ("warn", "refuse", "ignore")
PINS = {"governor": "governor", "mode": "power_mode", "clocks": "clocks_locked", "sustained": "sustained"}
SWITCHES = {"clocks_locked": ("locked",), "sustained": ("on", "true")}
LONGEST_CHANGE_S = 120.0  # for settings to be set and put back, a power mode among them


@dataclass(frozen=True)
class ConditionOptions:
    """What a run waits for, holds and refuses; see docs/conditions.md. Temperatures are °C, times seconds.

    ``cool_back_to`` is filled in by a series of runs: {"sensor", "temperature_c"} at the start of its first one.
    """

    idle_s: float | None = None
    cool_below_c: float | None = None
    cool_back: bool = False
    cool_back_to: Mapping[str, Any] | None = None
    cool_timeout_s: float = GATE_TIMEOUT_S
    max_temperature_c: float | None = None
    pins: Mapping[str, Any] = field(default_factory=dict)  # as in the agent's spec: governor, power_mode, ...
    probe: bool | None = None
    intruders: str = "warn"
    marker_s: float | None = None  # length of one burst of the marker load before and after the run

    def __post_init__(self) -> None:
        """Nothing, or UsageError that names the option."""
        for option, value, least, most in (
            ("--idle", self.idle_s, 0.0, MAX_IDLE_S),
            ("--cool-below", self.cool_below_c, -50.0, 200.0),
            ("--cool-timeout", self.cool_timeout_s, 0.0, 86_400.0),
            ("--max-temp", self.max_temperature_c, -50.0, 200.0),
            ("--marker", self.marker_s, MARKER_S[0], MARKER_S[1]),
        ):
            if value is not None and not least <= value <= most:
                raise UsageError(f"{option} is {value:g}, expected {least:g} to {most:g}")
        if self.intruders not in INTRUDERS:
            raise UsageError(f"--intruders is {self.intruders!r}, expected one of {', '.join(INTRUDERS)}")
        if self.max_temperature_c is not None and (self.cool_below_c or -100.0) > self.max_temperature_c:
            raise UsageError(
                f"--cool-below {self.cool_below_c:g} is above --max-temp {self.max_temperature_c:g}: "
                "a run would stop as soon as it began"
            )

    def agent_fields(self) -> dict[str, Any]:
        """``idle_s`` and ``conditions`` of the agent's spec; only what is asked for."""
        asked = {
            "cool_below_c": self.cool_below_c,
            "cool_back": self.cool_back or None,
            "cool_back_to": dict(self.cool_back_to) if self.cool_back_to is not None else None,
            "gate_timeout_s": self.cool_timeout_s if self.gated else None,
            "max_temperature_c": self.max_temperature_c,
            "pins": dict(self.pins) or None,
            "probe": self.probe,
            "intruders": self.intruders if self.intruders != "warn" else None,
            "marker_s": self.marker_s,
        }
        conditions = {name: value for name, value in asked.items() if value is not None}
        return {"idle_s": self.idle_s, "conditions": conditions}

    def content(self) -> dict[str, Any]:
        """What makes two requests different, as JSON."""
        return self.agent_fields()

    @property
    def gated(self) -> bool:
        """True when the start waits for a temperature."""
        return self.cool_below_c is not None or self.cool_back

    def longest_s(self) -> float:
        """How long all of this may take beside the run itself."""
        gate_s = self.cool_timeout_s if self.gated else 0.0
        marker_s = 2 * (MARKER_BITS * self.marker_s + MARKER_MARGIN_S) if self.marker_s else 0.0
        return gate_s + marker_s + (self.idle_s or 10.0) + (LONGEST_CHANGE_S if self.pins else 0.0)

    def within(self, limit_c: float | None) -> ConditionOptions:
        """The same under a device's own limit, where none was asked for, or a higher one."""
        if limit_c is None or (self.max_temperature_c is not None and self.max_temperature_c <= limit_c):
            return self
        return replace(self, max_temperature_c=limit_c)


class Series:
    """The runs of one request on one device: the first one's start temperature is what later ones wait for."""

    def __init__(self) -> None:
        self._first: dict[str, Any] | None = None

    def next(self, asked: ConditionOptions) -> ConditionOptions:
        """The conditions of the next run."""
        return replace(asked, cool_back_to=self._first) if asked.cool_back and self._first is not None else asked

    def hear(self, record: Record) -> None:
        """Nothing; remembers at which temperature the first run started."""
        if self._first is None and record["type"] == "event" and record["name"] == "gate-passed":
            detail = record["detail"]
            if isinstance(detail.get("temperature_c"), (int, float)) and isinstance(detail.get("sensor"), str):
                self._first = {"sensor": detail["sensor"], "temperature_c": detail["temperature_c"]}


def pin(text: str) -> tuple[str, Any]:
    """(field of the agent's spec, value) of NAME=VALUE. UsageError when it is none.

    >>> pin("mode=2")
    ('power_mode', '2')
    """
    name, equals, value = text.partition("=")
    place = PINS.get(name.strip())
    value = value.strip()
    if place is None or not equals or not value:
        raise UsageError(
            f"--pin {text!r} is not understood",
            hint="governor=NAME, mode=ID or NAME (nvpmodel), clocks=locked, sustained=on (Android)",
        )
    if place not in SWITCHES:
        return place, value
    if value not in SWITCHES[place]:
        raise UsageError(f"--pin {text!r}: expected {name}={SWITCHES[place][0]}")
    return place, True

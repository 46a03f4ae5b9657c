"""What a device's sensors show while it measures: temperature, clock, power, and whether it holds itself back.

A hint while one waits; the figures are derived from all samples once the run is there (mobile/results).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mobile.reports.units import pretty_hertz
from mobile.results.clocks import main_clock
from mobile.results.throttle import CAP_TOLERANCE
from mobile.results.totals import Total, totals

NS_PER_S = 1e9


class Live:
    """The newest values of one device, and what has shown throttling since its run began.

    ``sensors`` are the descriptors of the agent's hello. One thread may show what another takes.
    """

    def __init__(self, sensors: Sequence[Mapping[str, Any]] = ()) -> None:
        there = [sensor for sensor in sensors if sensor.get("state", "present") == "present" and sensor.get("name")]
        self._about = {str(sensor["name"]): sensor for sensor in there}
        self._totals: list[Total] = totals(there)
        self._newest: dict[str, tuple[int, float]] = {}  # (t_ns, value)
        self._rates: dict[str, float] = {}  # of the last block, per second
        self._lowest: dict[str, float] = {}
        self._highest: dict[str, float] = {}
        self._marks: dict[str, str] = {}  # by sensor

    def take(self, t_ns: Sequence[int], columns: Mapping[str, Sequence[float | None]]) -> None:
        """Nothing, once a block of samples is part of what is shown."""
        for name, column in columns.items():
            known = [(t, value) for t, value in zip(t_ns, column, strict=False) if value is not None]
            if name not in self._about or not known:
                continue
            (start_ns, first), (end_ns, last) = self._newest.get(name, known[0]), known[-1]
            self._newest[name] = known[-1]
            if end_ns > start_ns:
                self._rates[name] = (last - first) / ((end_ns - start_ns) / NS_PER_S)
            for _, value in known:
                self._watch(name, value)

    def _watch(self, name: str, value: float) -> None:
        lowest = self._lowest[name] = min(value, self._lowest.get(name, value))
        highest = self._highest[name] = max(value, self._highest.get(name, value))
        quantity = self._about[name].get("quantity")
        _, _, short = name.rpartition(".")
        if name.startswith("throttle.now."):
            marked = value >= 0.5
        elif name.startswith("throttle.") and quantity in ("count", "flag", "level"):
            marked = value > lowest or (name == "throttle.status" and value >= 1)
        elif quantity == "ratio" and name.startswith("cap."):
            marked, short = value < highest - CAP_TOLERANCE, f"{name} {value:.0%}"
        else:
            return
        if marked:
            self._marks[name] = short

    def cells(self) -> list[str]:
        """The texts of temperature, clock, power and throttling; empty for what is not shown."""
        return [self._temperature(), self._clock(), self._power(), ", ".join(dict.fromkeys(list(self._marks.values())))]

    def _of(self, quantity: str) -> dict[str, float]:
        known = list(self._newest.items())
        return {name: value for name, (_, value) in known if self._about[name].get("quantity") == quantity}

    def _temperature(self) -> str:
        hottest = max(self._of("temperature").values(), default=None)
        return "" if hottest is None else f"{hottest:.1f} °C"

    def _clock(self) -> str:
        clocks = self._of("frequency")
        name = main_clock(clocks)
        return "" if name is None else pretty_hertz(clocks[name])

    def _power(self) -> str:
        """The widest whole that has a value now, with its scope; else the highest of the parts, with its name."""
        for total in self._totals:
            rule, names = total.rule, [str(sensor["name"]) for sensor in total.sensors]
            shown = {"energy": self._rates, "power": self._of("power")}.get(rule.quantity, {})
            if all(name in shown for name in names):
                return f"{rule.consumption * sum(shown[name] for name in names):.1f} W ({total.scope_kind})"
        parts = self._of("power")
        name = max(parts, key=lambda part: parts[part], default=None)
        return "" if name is None else f"{parts[name]:.1f} W ({name.removeprefix('power.')} alone)"

"""Whether a battery's current is what its charge counter says: a check after the run, with the recorded series.

When the sensors are found little is known of a phone's gauge; its unit and sign are decided then by what the phone says
of itself (device_agents/calibration.py). A run of minutes shows more: the counter's slope proves or contradicts both.
"""

from __future__ import annotations

from device_agents.calibration import calibrate_sign, counter_slope
from mobile.results.integrate import NoEnergyError
from mobile.results.measured import MAX_VALUE
from mobile.results.run import Run
from mobile.results.totals import Total
from mobile.results.window import series

SAME_UNIT = 30.0  # a current and a slope that differ by more are not of one unit: µA and mA are 1000 apart
NS_PER_S = 1e9


def contradiction(run: Run, battery: str = "battery") -> str | None:
    """Why ``power.BATTERY`` and ``current.BATTERY`` of a run cannot be believed; None where nothing speaks against it.

    None also where the counter moved too little to say anything.
    """
    current, charge = series(run, "current." + battery), series(run, "charge." + battery)
    if any(abs(value) > MAX_VALUE for value in [*current.values, *charge.values]):
        return None  # no measurement at all: whoever integrates it says so
    slope = counter_slope([t / NS_PER_S for t in charge.t_ns], list(charge.values))
    if not current.values or not slope.current_a:
        return None
    mean_a = sum(current.values) / len(current.values)
    ratio = abs(mean_a / slope.current_a)
    if calibrate_sign(mean_a, None, None, None, slope.current_a).sign == -1:
        return _words(battery, mean_a, slope.current_a, "its sign is reversed")
    if not 1 / SAME_UNIT < ratio < SAME_UNIT:
        return _words(battery, mean_a, slope.current_a, "its unit is not what it seemed")
    return None


def refuse_gauge(run: Run, total: Total) -> None:
    """NoEnergyError for a total that is a battery's power which the run's own charge counter contradicts."""
    if total.rule.quantity != "power":
        return
    why = contradiction(run, str(total.sensors[0]["name"]).partition(".")[2])
    if why:
        raise NoEnergyError(why)


def _words(battery: str, mean_a: float, slope_a: float, why: str) -> str:
    return f"current.{battery} shows {mean_a:.3g} A where the charge counter moved by {slope_a:.3g} A: {why}"

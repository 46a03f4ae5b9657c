"""A total of a run over one of its windows: the integral with the parts of its uncertainty, or the reason for none."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

from mobile.results import integrate, uncertainty
from mobile.results.integrate import Integral, NoEnergyError
from mobile.results.phases import Phases, phases
from mobile.results.run import Run
from mobile.results.totals import Total
from mobile.results.uncertainty import Part, Traits, number, traits
from mobile.results.window import Series, Window, inside, sample_period_s, series

MIN_UPDATES = 10  # fewer readings than that give no figure: their spacing would be a large part of it
FEW_UPDATES = 3  # of an idle baseline, which says itself how uncertain it is
MIN_COVERED = 0.9  # share of the window that must lie between the first and the last reading
MAX_GAP_SHARE = 0.1  # of the window, for power: what happened in a longer gap is not known
MIN_BUSY_READINGS = 5  # of power, inside inferences, where these fill less than half of the time
MAX_VALUE = 1e15  # above what the widest counters hold, 2^63 microjoules
TYPICAL_CHARGE_STEP_C = 13.5  # 3750 µAh: the gauge of a Galaxy S23, 0.1 % of its capacity; for the time that is needed


class Measured(NamedTuple):
    """``about`` is what is known of the total, with how often its source has a new value as the readings show it."""

    integral: Integral
    parts: list[Part]
    window: Window
    about: Traits

    @property
    def mean_w(self) -> float:
        """The mean power, of what the readings cover."""
        return self.integral.energy_j / self.integral.covered_s

    @property
    def total_j(self) -> float:
        """The energy of the whole window."""
        return self.mean_w * self.window.duration_s

    @property
    def needed_s(self) -> float | None:
        """How long to measure for readings that leave MAX_SHARE of the energy open at most."""
        return uncertainty.needed_s(self.parts, self.total_j, self.window.duration_s)


def measure(run: Run, total: Total, window: Window, idle_w: float | None) -> Measured:
    """The energy of ``total`` in ``window``. NoEnergyError where the readings bear no figure, with how long would.

    ``idle_w``: the power before the run, below which it is not expected to fall.
    """
    measured = readings_of(run, total, window, idle_w, MIN_UPDATES)
    _refuse_unsure(total, measured)
    return measured


def readings_of(run: Run, total: Total, window: Window, idle_w: float | None, least: int) -> Measured:
    """Like `measure`, from ``least`` readings of a power on, however uncertain."""
    about = traits(total.sensors)
    if total.rule.quantity == "power":
        return _power(run, total, about, window, idle_w, least)
    return _counter(run, total, about, window, idle_w)


def refuse_charger(run: Run, window: Window) -> None:
    """NoEnergyError while anything but the battery feeds the device: then its current is not the consumption."""
    facts = run.environment.get("device")
    supply = facts.get("power_supply") if isinstance(facts, dict) else None
    told = isinstance(supply, dict) and supply.get("source") == "external"
    flags = series(run, "supply.external")
    before = [value for t, value in zip(*flags, strict=True) if t <= window.start_ns][-1:]
    seen = before + inside(flags, window).values
    if any(seen) or (told and not seen):
        raise NoEnergyError(
            "a charger is connected, so the battery's current is not the consumption: take the cable out and measure"
            " over Wi-Fi, or switch the port's power off"
        )


def _power(run: Run, total: Total, about: Traits, window: Window, idle_w: float | None, least: int) -> Measured:
    name = total.label
    rails = [_read(run, sensor) for sensor in total.sensors]
    whole = integrate.added(rails)
    if total.rule.consumption < 0:
        whole = Series(whole.t_ns, [-value for value in whole.values])
    source_s = max(about.period_s, integrate.update_period_s(whole, about.step) or 0.0)
    period_s = max(sample_period_s(run), source_s)
    found = integrate.around(whole, window, round(2 * period_s * integrate.NS_PER_S))
    updates = min(len(inside(found, window).t_ns), int(window.duration_s / period_s) + 1)
    if updates < least:
        _refuse_few(run, total, window, updates, least, period_s)
    integral = integrate.trapezoid(found, window, source_s)
    gap_s = max(integral.gaps_s, default=0.0)
    if gap_s > MAX_GAP_SHARE * window.duration_s:
        raise NoEnergyError(f"{name} gave no value for {gap_s:.3g} s of {window.duration_s:.3g} s")
    _refuse_uncovered(name, integral, window)
    if integral.energy_j < 0 and total.rule.consumption < 0:
        raise NoEnergyError(f"{name} shows that the battery was being charged")
    places = _phases(run, found, window)
    if places is not None and places.cycle_s >= 2 * source_s:
        _refuse_unseen(name, places, window)
    steps_w = [
        integrate.blur(inside(rail, window).values, number(sensor.get("resolution")))
        for rail, sensor in zip(rails, total.sensors, strict=True)
    ]
    parts = uncertainty.of_power(integral, window.duration_s, about._replace(step=math.hypot(*steps_w)), places, idle_w)
    return Measured(integral, parts, window, about._replace(period_s=source_s))


def _counter(run: Run, total: Total, about: Traits, window: Window, idle_w: float | None) -> Measured:
    if total.rule.quantity == "charge":
        whole, about = _charge(run, total, about, window)
        pieces: list[tuple[Series, float, float | None]] = [(whole, about.step, None)]
    else:
        pieces = [
            (_read(run, sensor), number(sensor.get("resolution")), number(sensor.get("wraps_at")) or None)
            for sensor in total.sensors
        ]
    slower = [integrate.counter_update_s(whole, step) or 0.0 for whole, step, _ in pieces]
    about = about._replace(period_s=max(about.period_s, *slower))
    integrals = [_rise(run, total, whole, step, wraps_at, about.period_s, window) for whole, step, wraps_at in pieces]
    integral = integrate.together(integrals)
    starts = run.phase("measure").start_ns
    cycle_s = window.duration_s / len(starts) if len(starts) else None
    parts = uncertainty.of_counter(integral, window.duration_s, about, cycle_s, idle_w)
    return Measured(integral, parts, window, about)


def _rise(
    run: Run,
    total: Total,
    whole: Series,
    step: float,
    wraps_at: float | None,
    update_s: float,
    window: Window,
) -> Integral:
    """One counter's rise over the window."""
    margin_ns = round(2 * max(sample_period_s(run), update_s) * integrate.NS_PER_S)
    found = integrate.around(whole, window, margin_ns)
    if len(found.t_ns) < 2:
        raise NoEnergyError(f"{total.label} was read {len(found.t_ns)} times in {window.duration_s:.3g} s")
    if total.rule.quantity == "energy":
        found = integrate.unwrapped(found, wraps_at, total.label)
    integral = integrate.difference(found, window, update_s, step)
    _refuse_uncovered(total.label, integral, window)
    return integral


def _charge(run: Run, total: Total, about: Traits, window: Window) -> tuple[Series, Traits]:
    """(energy that has left the battery, traits in J) of a charge counter and its voltage."""
    charge, voltage = (_read(run, sensor) for sensor in total.sensors)
    if not charge.t_ns or not voltage.t_ns:
        raise NoEnergyError(f"{total.label}: there is no value of one of the two")
    moved = integrate.moved(charge)
    volts = integrate.value_at(voltage, window.start_ns)
    step_c = max(number(total.sensors[0].get("resolution")), min(moved, default=0.0))
    within = inside(charge, window).values
    if not within or within[0] == within[-1]:
        _refuse_still(run, total, window, volts * (step_c if moved else max(step_c, TYPICAL_CHARGE_STEP_C)))
    if (within[-1] - within[0]) * total.rule.consumption < 0:
        raise NoEnergyError(f"{total.sensors[0]['name']} rose: the battery was being charged")
    relative = traits([total.sensors[0]]).gain + traits([total.sensors[1]]).gain
    energy = integrate.charge_energy(charge, voltage, total.rule.consumption)
    period_s = number(total.sensors[0].get("period_s"))
    return energy, about._replace(period_s=period_s, step=step_c * volts, offset=0.0, gain=relative, noise=0.0)


def _refuse_still(run: Run, total: Total, window: Window, step_j: float) -> None:
    """NoEnergyError for a charge counter that did not move: its step is too coarse for the window."""
    battery = total.sensors[0]["name"].replace("charge.", "power.", 1)
    known = series(run, battery)
    powers = inside(known, window).values or known.values[-1:]  # a gauge may have told nothing within the window
    known_w = abs(sum(powers) / len(powers)) if powers else 0.0
    mean_w = known_w or step_j / window.duration_s
    open_j = uncertainty.COVERAGE_FACTOR * step_j * math.sqrt(2 / 6)  # of the step, and of an update that takes as long
    needed_s = uncertainty.NEEDED_MARGIN * open_j / (uncertainty.MAX_SHARE * mean_w)
    raise NoEnergyError(
        f"{total.sensors[0]['name']} did not move in {window.duration_s:.3g} s, its steps are about {step_j:.2g} J:"
        f" measure for {needed_s:.3g} s or longer",
        needed_s,
    )


def _read(run: Run, sensor: dict[str, Any]) -> Series:
    """The sensor's values in the order of time. NoEnergyError for one that no device could have measured."""
    found = series(run, str(sensor["name"]))
    if any(abs(value) > MAX_VALUE for value in found.values):
        raise NoEnergyError(f"{sensor['name']} showed {max(found.values, key=abs):g}, which is no measurement")
    if any(left >= right for left, right in pairwise(found.t_ns)):
        by_time = sorted(dict(zip(*found, strict=True)).items())
        return Series([t for t, _ in by_time], [value for _, value in by_time])
    return found


def _phases(run: Run, found: Series, window: Window) -> Phases | None:
    measured = run.phase("measure")
    return phases(found.t_ns, window, measured.start_ns, measured.duration_ns)


def _refuse_few(run: Run, total: Total, window: Window, updates: int, least: int, period_s: float) -> None:
    """A power that was read fewer than ``least`` times. The few tell whether that many would do."""
    needed_s = uncertainty.NEEDED_MARGIN * least * period_s
    if updates >= FEW_UPDATES:
        few = readings_of(run, total, window, None, FEW_UPDATES)
        own, whole = uncertainty.open_shares(few.parts, few.total_j) if few.total_j > 0 else (0.0, 0.0)
        later = math.sqrt(window.duration_s / needed_s)
        if few.needed_s and (own * later > uncertainty.MAX_SHARE or whole * later > uncertainty.MAX_OPEN_SHARE):
            needed_s = max(needed_s, few.needed_s)
    raise NoEnergyError(
        f"measured for {window.duration_s:.3g} s, in which {total.label} was read {updates} times; at least"
        f" {least} readings are needed: measure for {needed_s:.3g} s or longer",
        needed_s,
    )


def _refuse_uncovered(name: str, integral: Integral, window: Window) -> None:
    if integral.covered_s < MIN_COVERED * window.duration_s:
        raise NoEnergyError(f"{name} covers only {integral.covered_s:.3g} s of the {window.duration_s:.3g} s measured")


def _refuse_unseen(name: str, places: Phases, window: Window) -> None:
    """Short inferences with pauses between: where the readings missed them, their power is not known."""
    if places.busy_share >= 0.5 or places.busy_readings >= MIN_BUSY_READINGS:
        return
    needed_s = window.duration_s * 2 * MIN_BUSY_READINGS / max(places.readings * places.busy_share, 1e-3)
    raise NoEnergyError(
        f"inferences filled {places.busy_share:.1%} of the {window.duration_s:.3g} s, and {places.busy_readings}"
        f" readings of {name} fell into them: measure for {needed_s:.3g} s or longer, or without pauses",
        needed_s,
    )


def _refuse_unsure(total: Total, measured: Measured) -> None:
    """A figure of which the readings leave too much open is none; a longer window makes it one."""
    if measured.total_j <= 0:
        raise NoEnergyError(f"{total.label} shows no consumption")
    own, whole = uncertainty.open_shares(measured.parts, measured.total_j)
    if own <= uncertainty.MAX_SHARE and whole <= uncertainty.MAX_OPEN_SHARE:
        return
    share, limit = (own, uncertainty.MAX_SHARE) if own > uncertainty.MAX_SHARE else (whole, uncertainty.MAX_OPEN_SHARE)
    raise NoEnergyError(
        f"{total.label} read for {measured.window.duration_s:.3g} s leaves {share:.0%} of its energy open, and at most"
        f" {limit:.0%} may be: measure for {measured.needed_s:.3g} s or longer",
        measured.needed_s,
    )

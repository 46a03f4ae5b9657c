"""What a battery gauge's current means on this phone: its unit (µA or mA) and its sign, from what is known.

Pure functions, used twice: when the sensors are found, with what the phone says then, and afterwards on the host, with
the recorded series of the charge counter. Each answer says how it was reached; one that cannot be reached is None.
The convention of edgewise: positive flows into the battery, as Android's BatteryManager documents it.

Sources. Unit: the kernel has µA (Documentation/ABI/testing/sysfs-class-power), Huawei P8 Lite and Honor phones were
reported with mA. Sign: positive into the battery on Samsung (its logs) and Google; reported as the reverse on Sony
(kernel pull request 1443 of sonyxperiadev), Xiaomi Mi 8 and A1, and some OnePlus. Being plugged in proves nothing: a
Galaxy S23 in the state "charging" drew 257 mA out of its battery.
"""

import math
from typing import List, NamedTuple, Optional, Sequence

A_PER_UA, A_PER_MA = 1e-6, 1e-3
HIGHEST_A = 20.0  # no phone or laptop battery gives or takes more; 20000 as mA is that limit
LOWEST_MA = 20.0  # a phone that runs the agent draws more than this
CLEAR_A = 0.010  # a smaller current may be the gauge's offset: its sign proves nothing
SLOPE_S = 60.0  # a slope of the charge counter needs this long ...
UNIT_STEPS, SIGN_STEPS = 4, 2  # ... and so many steps: it is then known to 1 part in 4, or in its direction
SAME_WITHIN = 0.02  # two charge counters of one battery that differ by less agree

VENDOR_SIGNS = {"samsung": 1, "google": 1, "sony": -1, "xiaomi": -1}
VENDOR_UNITS = {"google": A_PER_UA}  # a Pixel's -11718 is a multiple of its Maxim gauge's 156.25 µA


class Unit(NamedTuple):
    """Amperes per unit of the gauge, None when that is not decided, and how it was decided, or why not."""

    factor_a: Optional[float]
    how: str


class Sign(NamedTuple):
    """1: positive is into the battery; -1: the reverse; None: not decided; and how it was decided, or why not."""

    sign: Optional[int]
    how: str


class Slope(NamedTuple):
    """The mean current in A by the charge counter, positive into the battery; None with the reason."""

    current_a: Optional[float]
    how: str


def counter_slope(t_s: Sequence[float], charge_c: Sequence[Optional[float]], steps: int = UNIT_STEPS) -> Slope:
    """The mean current between the first and the last move of a charge counter: I = (Q2 - Q1) / (t2 - t1).

    ``charge_c``: readings in C at the times ``t_s``, None where there was none. From move to move no part of a step is
    lost. None when the counter moved by less than ``steps`` of its own steps or over less than 60 s.
    """
    known = [(t, q) for t, q in zip(t_s, charge_c) if q is not None and math.isfinite(q) and math.isfinite(t)]
    moves = [known[n] for n in range(1, len(known)) if known[n][1] != known[n - 1][1]]
    if len(moves) < 2:
        return Slope(None, "the charge counter moved {} times".format(len(moves)))
    seconds, change = moves[-1][0] - moves[0][0], moves[-1][1] - moves[0][1]
    step = counter_step_c([q for _, q in known])
    if seconds < SLOPE_S:
        return Slope(None, "the charge counter was seen to move for {:.0f} s, not {:.0f} s".format(seconds, SLOPE_S))
    if step is None or abs(change) < steps * step:
        return Slope(None, "the charge counter moved by less than {} steps".format(steps))
    return Slope(change / seconds, "the charge counter moved by {:.0f} C in {:.0f} s".format(change, seconds))


def counter_step_c(charge_c: Sequence[float]) -> Optional[float]:
    """The step of a charge counter in C: the largest charge that divides all moves seen. None before it moved.

    It is at most too large, by what the moves have in common by chance. Counters are whole µAh (3.6 mC).
    """
    units = [round(charge / 3.6e-3) for charge in charge_c if math.isfinite(charge)]
    step = 0
    for number in range(1, len(units)):
        step = math.gcd(step, abs(units[number] - units[number - 1]))
    return step * 3.6e-3 if step else None


def calibrate_unit(
    raw: Sequence[float], discharging: Optional[bool], slope_a: Optional[float] = None, vendor: Optional[str] = None
) -> Unit:
    """Whether a gauge's numbers are µA or mA.

    ``raw``: its readings as they are; ``discharging``: the battery feeds the device, as the state says, None when not
    known; ``slope_a``: the mean current by the charge counter over the same time (see `counter_slope`); ``vendor``: the
    maker of the phone.
    """
    numbers = [abs(number) for number in raw if math.isfinite(number)]
    highest = max(numbers, default=0.0)
    if highest * A_PER_UA > HIGHEST_A:
        return Unit(None, "{:.0f} is too much for a battery's current, in µA and in mA".format(highest))
    if slope_a and numbers:
        mean = sum(numbers) / len(numbers)
        for factor, name in ((A_PER_UA, "µA"), (A_PER_MA, "mA")):
            if mean > 0 and 1 / 8 < abs(slope_a) / (mean * factor) < 8:
                return Unit(factor, "unit {} by the charge counter's slope".format(name))
    if highest * A_PER_MA >= HIGHEST_A:
        return Unit(A_PER_UA, "unit µA by its size")
    usual = VENDOR_UNITS.get(_plain(vendor))
    if usual is not None:
        return Unit(usual, "unit as {} phones have it".format(vendor))
    if discharging and highest >= LOWEST_MA:
        return Unit(A_PER_MA, "unit mA by its size: in µA it would be too little for a running phone")
    return Unit(None, "unit not decided: {:.0f} is as well µA as mA while no discharge is known".format(highest))


def calibrate_sign(
    current_a: float,
    state: Optional[str],
    external: Optional[bool],
    vendor: Optional[str] = None,
    slope_a: Optional[float] = None,
) -> Sign:
    """Whether positive is into the battery, best evidence first.

    ``current_a``: the gauge's mean current as it is given, in A; ``state``: "Discharging", "Charging"... as sysfs has
    it; ``external``: a charger is connected; ``vendor``: the maker of the phone; ``slope_a``: see `calibrate_unit`.
    """
    if abs(current_a) < CLEAR_A:
        return Sign(None, "sign not decided: {:.1f} mA is too little to tell".format(current_a * 1e3))
    if slope_a:
        return Sign(1 if current_a * slope_a > 0 else -1, "sign by the charge counter's slope")
    if state == "Discharging" and not external:
        return Sign(1 if current_a < 0 else -1, "sign by the state: discharging, no charger")
    usual = VENDOR_SIGNS.get(_plain(vendor))
    if usual == 1:
        return Sign(1, "sign as {} phones have it".format(vendor))
    if state == "Charging" and usual is None and current_a > 0:
        return Sign(1, "sign by the state: positive while charging, as Android has it")
    if state == "Charging" and usual == -1 and current_a < 0:
        return Sign(-1, "sign by the state: negative while charging, as {} phones have it".format(vendor))
    return Sign(None, "sign not decided: a phone on a charger may charge or discharge; unplug it")


def _plain(vendor: Optional[str]) -> str:
    return (vendor or "").strip().lower()


def disagreement(counters: Sequence[float]) -> Optional[str]:
    """A sentence when charge counters (C) of one battery differ by more than 2 %; None when they agree."""
    known: List[float] = [counter for counter in counters if math.isfinite(counter) and counter > 0]
    if len(known) < 2 or max(known) - min(known) <= SAME_WITHIN * max(known):
        return None
    shown = " and ".join("{:.0f} C".format(counter) for counter in known)
    return "two charge counters of this battery disagree: " + shown

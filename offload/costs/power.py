"""What a device draws while it computes, waits and sends: measured where there is a figure, else by named profiles.

The radio's law P = alpha_up * throughput + alpha_down * throughput + beta is that of Huang et al., A close examination
of performance and power characteristics of 4G LTE networks, MobiSys 2012. The figures below are of handsets of 2011, as
remembered from that paper's tables and not checked against it since: they are assumed, whoever uses them. They leave
out what a radio draws after a transfer (its tail), which an isolated request pays in full: 12 J on LTE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from mobile.errors import UsageError
from offload.costs.profile import Profile
from offload.plan.costs import ASSUMED, MEASURED, Power

SOURCE = "2011 handset, after Huang et al., MobiSys 2012, from memory"


@dataclass(frozen=True)
class Radio:
    """A radio: watts for each Mbit/s up and down, watts while it is on at all, and the tail after a transfer.

    ``promotion_s`` and ``promotion_w``: what it takes until the radio is on.
    """

    name: str
    up_w_per_mbps: float
    down_w_per_mbps: float
    on_w: float
    promotion_s: float
    promotion_w: float
    tail_s: float
    tail_w: float
    source: str = SOURCE
    how: str = ASSUMED

    @property
    def tail_j(self) -> float:
        """Joules of the tail of one isolated request."""
        return self.tail_s * self.tail_w

    def to_json(self) -> dict[str, Any]:
        """The radio with its provenance."""
        return {**asdict(self), "tail_j": self.tail_j}


RADIOS: Mapping[str, Radio] = {
    "lte": Radio("lte", 0.43839, 0.05197, 1.28804, 0.2601, 1.2107, 11.576, 1.0600),
    # The tail of 3G has two states, DCH and FACH; here it is the longer one.
    "3g": Radio("3g", 0.86898, 0.12212, 0.81788, 0.5821, 0.6594, 8.088, 0.8039),
    "wifi": Radio("wifi", 0.28317, 0.13701, 0.13286, 0.0791, 0.1244, 0.2381, 0.1193),
    # A cable: nothing is known to be drawn beside what the board draws anyway.
    "none": Radio("none", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, "no radio, or one that is part of the device's own power"),
}


def radio(name: str, **figures: float) -> Radio:
    """The radio of that name, with figures of one's own in the place of its. UsageError lists the names."""
    if name not in RADIOS:
        raise UsageError(f"no radio is called {name!r}, there are {', '.join(RADIOS)}")
    own = {key: value for key, value in figures.items() if value is not None}
    if any(value < 0 for value in own.values()):
        raise UsageError("a radio's figures are not below 0")
    changed: dict[str, Any] = {**own, **({"source": "given"} if own else {})}
    return replace(RADIOS[name], **changed)


def power_of(
    profile: Profile, of: Radio, busy_w: float | None = None, idle_w: float | None = None
) -> tuple[Power | None, str | None]:
    """(the device's power, None), or (None, why it is not known).

    ``busy_w`` and ``idle_w`` are what is assumed in the place of what the profile's run has measured. The radio's
    figures are on top of the idle power. The word of the whole is "measured" only when all of it is.
    """
    energy = profile.energy or {}
    measured_busy, measured_idle = energy.get("mean_power_w"), energy.get("idle_power_w")
    busy = busy_w if busy_w is not None else measured_busy
    idle = idle_w if idle_w is not None else measured_idle
    if busy is None or idle is None:
        what = "busy" if busy is None else "idle"
        why = energy.get("missing") or "it had no figure"
        return None, f"the {what} power of {profile.place.name} was not measured: {why}"
    own = MEASURED if busy_w is None and idle_w is None else ASSUMED
    silent = not (of.up_w_per_mbps or of.down_w_per_mbps or of.on_w)
    scope = f"{energy.get('scope')} of {profile.place.name}" if own == MEASURED else "given"
    return Power(
        busy_w=float(busy),
        idle_w=float(idle),
        send_alpha_w_per_mbps=of.up_w_per_mbps,
        send_beta_w=of.on_w,
        receive_alpha_w_per_mbps=of.down_w_per_mbps,
        receive_beta_w=of.on_w,
        how=own if silent or of.how == MEASURED else ASSUMED,
        source=f"board: {own}, {scope}; radio {of.name}: {of.how}, {of.source}",
    ), None
